import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { startPeers } from './support/peers.ts';
import { beforeOthers, liftRealTimeLimit, onCore } from './support/processes.ts';
import { middle, type Sample, sample } from './support/sample.ts';
import { machine, median, percentile } from './support/statistics.ts';
import { type SteadyLoad, startSteadyLoad } from './support/steady-load.ts';
import type { SteadyWay } from './support/steady-requests.ts';
import { type Contender, startWorld } from './support/world.ts';

export const description = 'latency that the router adds at half of what it can do';

const RUN_MS = 2500;
/** Each way rests while the others have their turn. */
const SETTLE_MS = 500;
/** V8 compiles what a request needs again and again for several seconds. */
const WARM_UP_SECONDS = 12;
const WARM_UP_ROUNDS = 2;
const FULL_RUNS = 3;
const WANTED = { p50Ms: 0.3, p99Ms: 1.5 };
const DIRECT = 'direct';

/** A way to the sandbox: through a proxy, or without. */
interface Way extends SteadyWay {
  name: string;
}

/** Percentiles of each way, by round. */
interface Rounds {
  p50Ms: number[];
  p99Ms: number[];
}

/** Finds out what the router can do, then sends half of that to it, to the sandbox itself and through haproxy, in turn. */
export async function run({ rounds = 21 }: BenchOptions): Promise<Record<string, unknown>> {
  let load!: SteadyLoad;
  let restoreLimit: (() => void) | undefined;
  const world = await startWorld({ upstream: async (port) => (load = await startSteadyLoad(port)) });
  try {
    const router = await world.startRouter();
    const peers = await startPeers(world, ['haproxy']);
    const full = { path: '/', connections: 50, seconds: 2 };
    await sample(router, { ...full, seconds: WARM_UP_SECONDS });
    const atFull: Sample[] = [];
    for (let run = 0; run < FULL_RUNS; run++) atFull.push(await sample(router, full));
    const { requestsPerSecond, cpuPerRequestUs } = middle(atFull);
    const measured = [load, router.process, ...peers.map((peer) => peer.process)];
    restoreLimit = liftRealTimeLimit();
    const alone = restoreLimit !== undefined && measured.every(({ pid }) => beforeOthers(pid));
    // Beside the proxies, which go before them.
    if (alone) for (const pid of [process.pid, world.clusterPid]) onCore(0, pid);
    const direct = { name: DIRECT, port: world.upstreamPort, path: '/', headers: {} };
    const ways = [direct, ...[router, ...peers].map(wayThrough)];
    const perSecond = Math.round(requestsPerSecond / 2);
    console.log(`Small GETs at even distances, on connections that have had an answer; time counts from when each was due. Proxies on core 0; load and sandbox, one thread that never rests, on core 1.
${alone ? 'All of these go before whatever else runs on this machine (SCHED_FIFO).' : 'Whatever else runs on this machine takes its share: "chrt" as root would let these go first.'}
Load: half of the ${Math.round(requestsPerSecond)}/s that the router answers to ${generator} on ${full.connections} connections, at ${cpuPerRequestUs.toFixed(0)} µs of CPU each.
Added is the difference of percentiles to no proxy in the same round; medians of ${rounds} rounds in turn, ${RUN_MS / 1000} s each, of which the first ${SETTLE_MS / 1000} s does not count.
`);
    const figures = await measure(load, ways, perSecond, rounds);
    console.log(`wanted of the router: at most ${WANTED.p50Ms} and ${WANTED.p99Ms} ms added`);
    return { ...figures.router, wanted: WANTED, perSecond, ways: figures, alone, rounds, machine: machine() };
  } finally {
    restoreLimit?.();
    await world.close();
  }
}

function wayThrough({ name, url, headers }: Contender): Way {
  const { port, pathname } = new URL(url);
  return { name, port: Number(port), path: `${pathname.replace(/\/$/, '')}/`, headers };
}

/** Sends the load each way, round after round, and prints the table. */
async function measure(load: SteadyLoad, ways: readonly Way[], perSecond: number, rounds: number) {
  const byWay = new Map<string, Rounds>(ways.map(({ name }) => [name, { p50Ms: [], p99Ms: [] }]));
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++)
    for (const { name, ...way } of ways) {
      const samples = await load.send({ ...way, perSecond, durationMs: RUN_MS, settleMs: SETTLE_MS });
      if (round < 0) continue;
      byWay.get(name)?.p50Ms.push(percentile(samples, 0.5));
      byWay.get(name)?.p99Ms.push(percentile(samples, 0.99));
    }
  const direct = byWay.get(DIRECT) as Rounds;
  const figures = Object.fromEntries([...byWay].map(([name, way]) => [name, figuresOf(way, direct)]));
  const columns = ['p50 ms', 'p99 ms', 'added p50', 'added p99', 'quarters of it'];
  console.log(`${`${perSecond}/s`.padEnd(10)}${columns.map(column).join('')}`);
  for (const [name, { p50Ms, p99Ms, addedP50Ms, addedP99Ms, addedP99QuartersMs }] of Object.entries(figures)) {
    const shown = [p50Ms, p99Ms, addedP50Ms, addedP99Ms].map((each) => each.toFixed(3));
    const quarters = addedP99QuartersMs.map((each) => each.toFixed(1)).join(' to ');
    console.log(`${name.padEnd(10)}${[...shown, quarters].map(column).join('')}`);
  }
  return figures;
}

function figuresOf(way: Rounds, direct: Rounds) {
  const thousandths = (value: number) => Math.round(value * 1000) / 1000;
  const added = (of: keyof Rounds) => way[of].map((each, round) => each - (direct[of][round] as number));
  return {
    p50Ms: thousandths(median(way.p50Ms)),
    p99Ms: thousandths(median(way.p99Ms)),
    addedP50Ms: thousandths(median(added('p50Ms'))),
    addedP99Ms: thousandths(median(added('p99Ms'))),
    /** Half of the rounds lay between these. */
    addedP99QuartersMs: [0.25, 0.75].map((share) => thousandths(percentile(added('p99Ms'), share))),
  };
}

function column(text: string): string {
  return text.padStart(16);
}
