import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { alternate, sampleTable } from './support/sample.ts';
import { machine } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'requests over 2,000 of 50,000 sandboxes against requests for one of them';

const SANDBOXES = 50_000;
const SPREAD = 2000;
const LOAD = { path: '/', connections: 50, seconds: 2, warmUpSeconds: 6 };
const WANTED = 0.85;

/** Loads one router for one sandbox, and for many in turn. */
export async function run({ rounds = 7 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld({ sandboxes: SANDBOXES });
  try {
    const router = await world.startRouter();
    const { headers } = world;
    const targets = Array.from({ length: SPREAD }, (_, index) => ({ path: `${world.pathOf(index)}/`, headers }));
    console.log(`${SANDBOXES} sandboxes in the table, each pod with an address of its own on loopback; small GETs (${generator}, ${LOAD.connections} connections).
One router on core 0; load, upstream and the fake API on core 1. Medians of ${rounds} rounds in turn, ${LOAD.seconds} s each.
`);
    const one = { ...router, name: 'one' };
    const many = { ...router, name: 'many', targets };
    const samples = await alternate([one, many], { ...LOAD, rounds, reference: 'one' });
    console.log(sampleTable('sandboxes', samples, 'one'));
    const throughputRatio = ratio(samples.many?.requestsPerSecond, samples.one?.requestsPerSecond);
    const cpuRatio = ratio(samples.one?.cpuPerRequestUs, samples.many?.cpuPerRequestUs);
    console.log(`throughput over ${SPREAD}: ${throughputRatio} of that of one, wanted: at least ${WANTED}
by CPU per request alone, without what the load side pays for more connections: ${cpuRatio}`);
    return { throughputRatio, cpuRatio, wanted: WANTED, samples, rounds, generator, machine: machine() };
  } finally {
    await world.close();
  }
}

function ratio(part = Number.NaN, whole = Number.NaN): number {
  return Math.round((part / whole) * 1000) / 1000;
}
