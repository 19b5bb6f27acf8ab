import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { startPeers } from './support/peers.ts';
import { alternate, sampleTable } from './support/sample.ts';
import { machine } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'a new connection for every request; --peers adds other proxies';

const LOAD = { path: '/', connections: 50, seconds: 2, warmUpSeconds: 2, headers: { connection: 'close' } };

/** Loads proxies with requests whose clients close the connection after each. */
export async function run({ peers, rounds = 5 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld();
  try {
    // @fastify/http-proxy hands Connection: close on, and fails every other request then.
    const others = peers ? (await startPeers(world)).filter(({ name }) => name !== '@fastify/http-proxy') : [];
    const contenders = [await world.startRouter(), ...others];
    console.log(`Small GETs with Connection: close, ${LOAD.connections} at once (${generator}); proxies on core 0, load and upstream on core 1.
Medians of ${rounds} rounds in turn, ${LOAD.seconds} s each. CPU by the kernel's accounting; ratios within a round.
`);
    const churn = await alternate(contenders, { ...LOAD, rounds, reference: 'haproxy' });
    console.log(sampleTable('churn', churn, 'haproxy'));
    return { churn, rounds, generator, machine: machine() };
  } finally {
    await world.close();
  }
}
