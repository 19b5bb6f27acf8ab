import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchOptions } from './run.ts';
import { generator } from './support/load.ts';
import { alternate, sampleTable } from './support/sample.ts';
import { machine } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description =
  'twenty tenants with everything on: limits, verified egress, access and audit log, against the usual';

const TENANTS = 20;
const SANDBOXES = 400;
const LOAD = { path: '/', connections: 50, seconds: 2, warmUpSeconds: 4 };

/** Loads a router as it comes, and one with everything on, with the same requests. */
export async function run({ rounds = 5 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld({ sandboxes: SANDBOXES });
  try {
    const tokens = Array.from({ length: TENANTS }, () => randomBytes(24).toString('base64url'));
    const keys = join(world.directory, 'tenant-keys.json');
    const config = join(world.directory, 'sandbox-router.yaml');
    writeFileSync(keys, JSON.stringify({ keys: tokens.map(keyOf) }));
    writeFileSync(config, configuration(world.directory));
    const flags = ['--api-keys-file', keys];
    const usual = await world.startRouter({ name: 'usual', flags });
    const everything = await world.startRouter({
      name: 'everything',
      flags: [...flags, '--config', config],
      environment: { SANDBOX_ROUTER_ACCESS_LOG: 'true' },
    });
    // Sandbox n is in namespace team-(n mod 100): the tenants have the first namespaces.
    const targets = Array.from({ length: SANDBOXES }, (_, index) => index)
      .filter((index) => index % 100 < TENANTS)
      .map((index) => ({
        path: `${world.pathOf(index)}/`,
        headers: { authorization: `Bearer ${tokens[index % 100]}` },
      }));
    console.log(`${TENANTS} tenants with a key and limits each, ${targets.length} sandboxes in turn; small GETs (${generator}, ${LOAD.connections} connections).
everything: limits of tenants and sandboxes, RateLimit fields, egress verification, access log and audit log. Routers on core 0, the rest on core 1.
Medians of ${rounds} rounds in turn, ${LOAD.seconds} s each; ratios within a round.
`);
    const contenders = [usual, everything].map((router) => ({ ...router, targets }));
    const tenants = await alternate(contenders, { ...LOAD, rounds, reference: 'usual' });
    console.log(sampleTable('mixed tenants', tenants, 'usual'));
    return { tenants, rounds, generator, machine: machine() };
  } finally {
    await world.close();
  }
}

function keyOf(token: string, index: number) {
  const sha256 = createHash('sha256').update(token).digest('hex');
  return { id: `key-${index}`, sha256, tenant: `team-${index}`, scopes: ['route', 'wake'] };
}

/** Bounds far above what is sent: they are asked for on each request, and never reached. */
function configuration(directory: string): string {
  const limits = '{ requestsPerSecond: 1000000, concurrency: 100000, held: 1000, awake: 1000, wakesPerMinute: 1000 }';
  const sandboxLimits = '{ requestsPerSecond: 1000000, concurrency: 100000, wakesPerMinute: 1000 }';
  const tenants = Array.from(
    { length: TENANTS },
    (_, index) => `  team-${index}: { limits: ${limits}, sandboxLimits: ${sandboxLimits} }`,
  );
  return `egress: { verify: warn, required: false }
rateLimitFields: always
auditLog: ${join(directory, 'audit.log')}
tenants:
${tenants.join('\n')}
`;
}
