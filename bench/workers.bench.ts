import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { cpuTimeUs, familyOf } from './support/processes.ts';
import { alternate, sample, sampleTable } from './support/sample.ts';
import { machine } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'two workers against one: CPU per request, and how even they share it';

const LOAD = { path: '/', connections: 50, seconds: 2, warmUpSeconds: 3 };
const WANTED = 1.7;

/** Loads a router of one worker and one of two, in turn. */
export async function run({ rounds = 5 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld();
  try {
    const one = await world.startRouter({ name: 'one worker', flags: ['--workers', '1'] });
    const two = await world.startRouter({ name: 'two workers', flags: ['--workers', '2'] });
    console.log(`Small GETs (${generator}, ${LOAD.connections} connections). All workers share core 0; load and upstream on core 1, as two workers and their load need three cores.
Workers share nothing but the connections that the kernel deals out to them, so what two do on two cores of their own is worked out: twice what one does, times CPU per
request of one by that of two, times how even both are loaded. CPU counts the primary too. Medians of ${rounds} rounds in turn, ${LOAD.seconds} s each.
`);
    const workers = await alternate([one, two], { ...LOAD, rounds, reference: 'one worker' });
    console.log(sampleTable('workers', workers, 'one worker'));
    const before = familyOf(two.process.pid).map((pid) => [pid, cpuTimeUs(pid)] as const);
    await sample(two, { ...LOAD, seconds: 4 });
    const used = before.map(([pid, cpuUs]) => cpuTimeUs(pid) - cpuUs).toSorted((left, right) => right - left);
    const [first = 0, second = 0] = used;
    // The busier of the two is full when the other is not yet.
    const evenness = (first + second) / (2 * first);
    const costRatio = workers['two workers']?.cpuToReference ?? Number.NaN;
    const speedUp = Math.round(((2 * evenness) / costRatio) * 100) / 100;
    console.log(`CPU of the workers while two are loaded: ${used.map((cpuUs) => `${Math.round(cpuUs / 1000)} ms`).join(', ')}
two workers on two cores of their own do ${speedUp} × what one does, wanted: at least ${WANTED}`);
    const shared = Math.round(evenness * 1000) / 1000;
    return { speedUp, wanted: WANTED, evenness: shared, workers, rounds, generator, machine: machine() };
  } finally {
    await world.close();
  }
}
