import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { mintScopedToken, scopedTokenKey } from '../src/router/identity/scoped-token.ts';
import { projectRoot } from '../test/support/checkout.ts';
import { freePort } from '../test/support/free-port.ts';
import type { BenchOptions } from './run.ts';
import { type FakeCluster, startFakeCluster } from './support/fake-cluster.ts';
import { cpuTimeUs, type Measured, onCore, startMeasured } from './support/processes.ts';
import { machine, median } from './support/statistics.ts';

export const description = 'what authentication, policy and limits cost: CPU per request against --insecure-no-auth';

const CONNECTIONS = 50;
const WARM_UP_SECONDS = 2;
const RUN_SECONDS = 1.5;
const ROUNDS = 9;
/** What it may cost at most. */
const WANTED_PERCENT = 8;

/** One way to send requests: to which of the routers, with which header. */
interface Contender {
  name: string;
  url: string;
  headers: Record<string, string>;
  process: Measured;
}

/** Loads a router that lets anybody in, and one with everything on with each kind of credential, in turn; compares within each round. */
export async function run({ rounds = ROUNDS }: BenchOptions): Promise<Record<string, unknown>> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const started: Measured[] = [];
  let cluster: FakeCluster | undefined;
  try {
    onCore(1, process.pid);
    const upstreamPort = await freePort();
    const upstreamScript = join(dirname(fileURLToPath(import.meta.url)), 'support/upstream.ts');
    const upstream = await startMeasured(process.execPath, [upstreamScript, String(upstreamPort)], upstreamPort);
    onCore(1, upstream.pid);
    started.push(upstream);
    cluster = await startFakeCluster([{ namespace: 'default', name: 'box', address: '127.0.0.1', port: upstreamPort }]);
    const kubeconfig = join(directory, 'kubeconfig');
    writeFileSync(kubeconfig, cluster.kubeconfig);
    const { flags, credentials } = await identity(directory);
    const open = await startRouter(kubeconfig, ['--insecure-no-auth']);
    const guarded = await startRouter(kubeconfig, flags);
    started.push(open.process, guarded.process);
    for (const { process: measured } of [open, guarded]) onCore(0, measured.pid);
    const contenders: Contender[] = [
      { name: 'no authentication', headers: {}, ...open },
      ...Object.entries(credentials).map(([name, token]) => ({
        name,
        headers: { authorization: `Bearer ${token}` },
        ...guarded,
      })),
    ];
    console.log(`Routers on core 0, load (autocannon, ${CONNECTIONS} connections) and upstream on core 1; small GET; access log off on both.
With credentials: tenants, classes, verification of egress, and limits of tenant and sandbox are on; decisions about credentials are cached, as they are on all requests but one in 10 s.
${rounds} rounds; in each, every credential has a run of ${RUN_SECONDS} s between two without authentication, and is compared with the mean of these. The cost is the median over rounds.
`);
    for (const contender of contenders) await load(contender, WARM_UP_SECONDS);
    const [none, ...others] = contenders as [Contender, ...Contender[]];
    const samples = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
    const ratios = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
    const measure = async (contender: Contender) => {
      const cpuUs = await load(contender, RUN_SECONDS);
      samples.get(contender.name)?.push(cpuUs);
      return cpuUs;
    };
    for (let round = 0; round < rounds; round++) {
      // The machine is not the same from one minute to the next: only neighbours are compared.
      let before = await measure(none);
      for (const contender of others) {
        const cpuUs = await measure(contender);
        const after = await measure(none);
        ratios.get(contender.name)?.push((2 * cpuUs) / (before + after));
        before = after;
      }
    }
    const cost = Object.fromEntries(
      [...samples].map(([name, list]) => {
        const compared = ratios.get(name) ?? [];
        const costPercent = compared.length === 0 ? 0 : round1((median(compared) - 1) * 100);
        return [name, { cpuPerRequestUs: round1(median(list)), costPercent }];
      }),
    );
    console.log(`${''.padEnd(20)}${'CPU µs/request'.padStart(15)}${'cost'.padStart(10)}`);
    for (const [name, { cpuPerRequestUs, costPercent }] of Object.entries(cost))
      console.log(
        `${name.padEnd(20)}${cpuPerRequestUs.toFixed(1).padStart(15)}${`${costPercent.toFixed(1)} %`.padStart(10)}`,
      );
    console.log(`\nwanted: at most ${WANTED_PERCENT} %`);
    return { cost, rounds, wantedPercent: WANTED_PERCENT, machine: machine() };
  } finally {
    for (const each of started.reverse()) await each.stop();
    await cluster?.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Everything that decides who gets in, and one credential of each kind. */
async function identity(directory: string): Promise<{ flags: string[]; credentials: Record<string, string> }> {
  const file = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const apiKey = randomBytes(32).toString('base64url');
  const sha256 = createHash('sha256').update(apiKey).digest('hex');
  const keys = file(
    'keys.json',
    JSON.stringify({ keys: [{ id: 'bench', sha256, tenant: 'default', scopes: ['route'] }] }),
  );
  const secret = randomBytes(48).toString('base64');
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const jwks = file(
    'jwks.json',
    JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }] }),
  );
  // Far above what is sent: a bound is asked for on each request, and never reached.
  const configuration = `
jwt: [{ issuer: "https://id.example.com", audiences: [sandbox-router], algorithms: [ES256], jwksFile: ${jwks} }]
egress: { verify: warn, required: false }
tenants:
  default:
    limits: { requestsPerSecond: 1000000, concurrency: 100000, held: 1000, awake: 1000, wakesPerMinute: 1000, webSockets: 1000 }
    sandboxLimits: { requestsPerSecond: 1000000, concurrency: 100000, wakesPerMinute: 1000, webSockets: 1000 }
`;
  const expiresAtSeconds = Math.floor(Date.now() / 1000) + 3600;
  const jwt = await new SignJWT({ tenant: 'default' })
    .setProtectedHeader({ alg: 'ES256', kid: 'one' })
    .setIssuer('https://id.example.com')
    .setAudience('sandbox-router')
    .setSubject('bench')
    .setExpirationTime('1h')
    .sign(privateKey);
  const scoped = mintScopedToken(scopedTokenKey(Buffer.from(secret)), {
    namespace: 'default',
    name: 'box',
    expiresAtSeconds,
  });
  return {
    flags: [
      ...['--api-keys-file', keys, '--scoped-token-keys', file('secret', secret)],
      ...['--config', file('sandbox-router.yaml', configuration)],
    ],
    credentials: { 'API key': apiKey, JWT: jwt, 'scoped token': scoped },
  };
}

async function startRouter(kubeconfig: string, flags: string[]): Promise<{ url: string; process: Measured }> {
  const [port, adminPort] = [await freePort(), await freePort()];
  const commandLine = [
    join(projectRoot, 'src/cli/main.ts'),
    'serve',
    ...['--listen', `127.0.0.1:${port}`, '--admin-listen', `127.0.0.1:${adminPort}`],
    ...['--kubeconfig', kubeconfig, '--shutdown-delay', '0s', ...flags],
  ];
  const measured = await startMeasured(process.execPath, commandLine, port, { SANDBOX_ROUTER_ACCESS_LOG: 'false' });
  while (!(await fetch(`http://127.0.0.1:${adminPort}/readyz`)).ok) await delay(20);
  return { url: `http://127.0.0.1:${port}/box.default/`, process: measured };
}

/** CPU per request in microseconds. @throws Error if anything but 2xx came back */
async function load({ name, url, headers, process: measured }: Contender, seconds: number): Promise<number> {
  const before = cpuTimeUs(measured.pid);
  const result = await autocannon({ url, headers, connections: CONNECTIONS, duration: seconds });
  const cpuUs = cpuTimeUs(measured.pid) - before;
  if (result['2xx'] === 0 || result.non2xx > 0 || result.errors > 0)
    throw new Error(
      `${name}: ${result['2xx']} of 2xx, ${result.non2xx} others, ${result.errors} errors.\n${measured.output()}`,
    );
  return cpuUs / result['2xx'];
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}
