import { readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { startPeers } from './support/peers.ts';
import { sample } from './support/sample.ts';
import { smallUpstream } from './support/small-upstream.ts';
import { machine, median, percentile } from './support/statistics.ts';
import { steadyRequests } from './support/steady-requests.ts';
import { startWorld } from './support/world.ts';

export const description = 'latency that the router adds at half of what it can do';

const RUN_MS = 2000;
const WARM_UP_ROUNDS = 2;
const WANTED = { p50Ms: 0.3, p99Ms: 1.5 };
const DIRECT = 'direct';

/** Percentiles of each way, by round. */
interface Rounds {
  p50Ms: number[];
  p99Ms: number[];
}

/** Finds out what the router can do, then sends half of that to it, to the sandbox itself and through haproxy, in turn. */
export async function run({ rounds = 7 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld({ upstream: smallUpstream });
  try {
    const router = await world.startRouter();
    const peers = await startPeers(world, ['haproxy']);
    const load = { path: '/', connections: 50, seconds: 2 };
    await sample(router, load);
    const { requestsPerSecond } = await sample(router, load);
    const perSecond = Math.round(requestsPerSecond / 2);
    console.log(`Half load: ${perSecond} requests/s, half of what the router answers under full load (${generator}). Small GETs at even distances, on connections that have had an answer; time counts from when each was due.
Proxies on core 0; load and sandbox on core 1. Added is the difference of percentiles to no proxy in the same round; medians of ${rounds} rounds in turn, ${RUN_MS / 1000} s each.
`);
    // The load keeps its core busy: the sandbox that shares it must not wait for it. Its own helping threads must not go before it, either.
    const priority = Math.min(19, getPriority() + 10);
    for (const thread of readdirSync('/proc/self/task')) setPriority(Number(thread), priority);
    const ways = [
      { name: DIRECT, port: world.upstreamPort, path: '/', headers: {} },
      ...[router, ...peers].map(({ name, url, headers }) => {
        const { port, pathname } = new URL(url);
        return { name, port: Number(port), path: `${pathname.replace(/\/$/, '')}/`, headers };
      }),
    ];
    const byWay = new Map<string, Rounds>(ways.map(({ name }) => [name, { p50Ms: [], p99Ms: [] }]));
    for (let round = -WARM_UP_ROUNDS; round < rounds; round++)
      for (const { name, ...way } of ways) {
        const samples = await steadyRequests({ ...way, perSecond, durationMs: RUN_MS });
        if (round < 0) continue;
        byWay.get(name)?.p50Ms.push(percentile(samples, 0.5));
        byWay.get(name)?.p99Ms.push(percentile(samples, 0.99));
      }
    const direct = byWay.get(DIRECT) as Rounds;
    const figures = Object.fromEntries([...byWay].map(([name, way]) => [name, figuresOf(way, direct)]));
    console.log(`${' '.repeat(10)}${['p50 ms', 'p99 ms', 'added p50', 'added p99'].map(column).join('')}`);
    for (const [name, { p50Ms, p99Ms, addedP50Ms, addedP99Ms }] of Object.entries(figures))
      console.log(
        `${name.padEnd(10)}${[p50Ms, p99Ms, addedP50Ms, addedP99Ms].map((each) => column(each.toFixed(3))).join('')}`,
      );
    console.log(`wanted of the router: at most ${WANTED.p50Ms} and ${WANTED.p99Ms} ms added`);
    return { ...figures.router, wanted: WANTED, perSecond, ways: figures, rounds, machine: machine() };
  } finally {
    await world.close();
  }
}

function figuresOf(way: Rounds, direct: Rounds) {
  const thousandths = (value: number) => Math.round(value * 1000) / 1000;
  const added = (of: keyof Rounds) =>
    thousandths(median(way[of].map((each, round) => each - (direct[of][round] as number))));
  return {
    p50Ms: thousandths(median(way.p50Ms)),
    p99Ms: thousandths(median(way.p99Ms)),
    addedP50Ms: added('p50Ms'),
    addedP99Ms: added('p99Ms'),
  };
}

function column(text: string): string {
  return text.padStart(12);
}
