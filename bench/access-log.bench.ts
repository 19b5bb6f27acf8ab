import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { alternate, sampleTable } from './support/sample.ts';
import { machine } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'what the access log costs: CPU per request with it on against off';

const LOAD = { path: '/', connections: 50, seconds: 2, warmUpSeconds: 2 };
const WANTED_PERCENT = 15;

/** Loads a router with the access log and one without, in turn. */
export async function run({ rounds = 7 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld();
  try {
    const off = await world.startRouter({ name: 'off' });
    const on = await world.startRouter({ name: 'on', environment: { SANDBOX_ROUTER_ACCESS_LOG: 'true' } });
    console.log(`Small GETs (${generator}); routers on core 0; the log goes to a pipe that this bench reads on core 1.
Medians of ${rounds} rounds in turn, ${LOAD.seconds} s each; the cost is the median of those within a round.
`);
    const accessLog = await alternate([off, on], { ...LOAD, rounds, reference: 'off' });
    console.log(sampleTable('access log', accessLog, 'off'));
    const costPercent = Math.round(((accessLog.on?.cpuToReference ?? Number.NaN) - 1) * 1000) / 10;
    console.log(`cost ${costPercent} %, wanted: at most ${WANTED_PERCENT} %`);
    return { costPercent, wantedPercent: WANTED_PERCENT, accessLog, rounds, generator, machine: machine() };
  } finally {
    await world.close();
  }
}
