import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { startPeers } from './support/peers.ts';
import { residentBytes } from './support/processes.ts';
import { alternate, type Medians, sampleTable } from './support/sample.ts';
import { machine } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'CPU per proxied request and requests per second on one core; --peers adds other proxies';

const CONNECTIONS = 50;
const WARM_UP_SECONDS = 2;
const RUN_SECONDS = 2;

/** What is asked for. The first is the one whose figures stand at the top of the JSON. */
const SCENARIOS: { name: string; path: string; bodyBytes?: number }[] = [
  { name: 'small GET', path: '/' },
  { name: '16 KB JSON', path: '/json?n=16384' },
  { name: '1 MB', path: '/bytes?n=1048576' },
  { name: '1 MB upload', path: '/', bodyBytes: 1_048_576 },
];

/** Loads each proxy in turn, `rounds` times over, and compares medians. */
export async function run({ peers: withPeers, rounds = 5, only }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld();
  try {
    const router = await world.startRouter();
    const contenders = [router, ...(withPeers ? await startPeers(world) : [])];
    console.log(`Proxies on core 0, one worker each; load (${generator}, ${CONNECTIONS} connections) and upstream (node:http) on core 1.
Medians of ${rounds} rounds in turn, ${RUN_SECONDS} s each; ${WARM_UP_SECONDS} s of warm-up before the first.
CPU is user and system time of the proxy by the kernel's accounting; ratios are medians of those within a round.
router: authentication, policy, table and metrics on, access log off. The load side limits requests/s of the fast ones.
`);
    const byScenario: Record<string, Medians> = {};
    for (const { name: scenario, ...load } of SCENARIOS) {
      if (only !== undefined && scenario !== only) continue;
      const medians = await alternate(contenders, {
        ...load,
        rounds,
        connections: CONNECTIONS,
        seconds: RUN_SECONDS,
        warmUpSeconds: WARM_UP_SECONDS,
        reference: 'haproxy',
      });
      byScenario[scenario] = medians;
      console.log(sampleTable(scenario, medians, 'haproxy'));
    }
    const top = Object.values(byScenario)[0] ?? {};
    const pick = (field: 'cpuPerRequestUs' | 'requestsPerSecond') =>
      Object.fromEntries(Object.entries(top).map(([name, figures]) => [name, figures[field]]));
    return {
      cpuPerRequestUs: pick('cpuPerRequestUs'),
      requestsPerSecond: pick('requestsPerSecond'),
      scenarios: byScenario,
      rounds,
      generator,
      versions: Object.fromEntries(contenders.map(({ name, version }) => [name, version])),
      residentMiB: Math.round(residentBytes(router.process.pid) / 2 ** 20),
      machine: machine(),
    };
  } finally {
    await world.close();
  }
}
