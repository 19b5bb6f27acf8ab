import { setPriority } from 'node:os';
import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { sample } from './support/sample.ts';
import { machine, median, percentile } from './support/statistics.ts';
import { steadyRequests } from './support/steady-requests.ts';
import { startWorld } from './support/world.ts';

export const description = 'latency that the router adds at half of what it can do';

const RUN_MS = 2000;
const WANTED = { p50Ms: 0.3, p99Ms: 1.5 };

/** Finds out what the router can do, then sends half of that to it and to the sandbox itself, in turn. */
export async function run({ rounds = 7 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld();
  try {
    const router = await world.startRouter();
    const load = { path: '/', connections: 50, seconds: 2 };
    await sample(router, load);
    const { cpuPerRequestUs } = await sample(router, load);
    const perSecond = Math.round(1e6 / cpuPerRequestUs / 2);
    console.log(`Half load: ${perSecond} requests/s, by the CPU that a request costs under full load (${generator}). Small GETs at even distances, sent when they are due.
Router on core 0; load and sandbox on core 1, with and without the router. Added is the difference of percentiles; medians of ${rounds} rounds in turn, ${RUN_MS / 1000} s each.
`);
    // The load keeps its core busy: the sandbox that shares it must not wait for it.
    setPriority(10);
    const { port, pathname } = new URL(router.url);
    const ways = [
      { name: 'direct', port: world.upstreamPort, path: '/', headers: {} },
      { name: 'router', port: Number(port), path: `${pathname}/`, headers: router.headers },
    ];
    const p50 = new Map<string, number[]>(ways.map(({ name }) => [name, []]));
    const p99 = new Map<string, number[]>(ways.map(({ name }) => [name, []]));
    for (let round = 0; round <= rounds; round++)
      for (const { name, ...way } of ways) {
        const samples = await steadyRequests({ ...way, perSecond, durationMs: RUN_MS });
        // The first round warms up.
        if (round === 0) continue;
        p50.get(name)?.push(percentile(samples, 0.5));
        p99.get(name)?.push(percentile(samples, 0.99));
      }
    const middle = (of: Map<string, number[]>, name: string) => Math.round(median(of.get(name) ?? []) * 1000) / 1000;
    const figures = Object.fromEntries(
      ways.map(({ name }) => [name, { p50Ms: middle(p50, name), p99Ms: middle(p99, name) }]),
    );
    const added = (of: Map<string, number[]>) =>
      Math.round(median((of.get('router') ?? []).map((each, at) => each - (of.get('direct')?.[at] ?? 0))) * 1000) /
      1000;
    const addedP50Ms = added(p50);
    const addedP99Ms = added(p99);
    for (const [name, { p50Ms, p99Ms }] of Object.entries(figures))
      console.log(`${name.padEnd(8)} p50 ${p50Ms} ms   p99 ${p99Ms} ms`);
    console.log(
      `added    p50 ${addedP50Ms} ms   p99 ${addedP99Ms} ms   wanted: at most ${WANTED.p50Ms} and ${WANTED.p99Ms} ms`,
    );
    return { addedP50Ms, addedP99Ms, wanted: WANTED, perSecond, ...figures, rounds, machine: machine() };
  } finally {
    await world.close();
  }
}
