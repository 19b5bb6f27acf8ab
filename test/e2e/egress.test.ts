import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isDeepStrictEqual, promisify } from 'node:util';
import { projectRoot } from '../support/checkout.ts';
import { makeOutsideNetwork, type OutsideNetwork } from '../support/outside-network.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);

/** This machine's own address on the link to the outside. */
const NEAR = '198.51.100.1';
const A = '198.51.100.10';
const B = '198.51.100.11';
const DNS = '198.51.100.53';
const PRIVATE = '10.250.0.5';
const METADATA = '169.254.169.254';

/** Says of each `protocol:address:port` whether it answers. */
const PROBE = `
import json, socket, sys, threading
found = {}
def probe(target):
    protocol, address, port = target.split(':')
    kind = socket.SOCK_STREAM if protocol == 'tcp' else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(1.5)
        try:
            s.connect((address, int(port)))
            if protocol == 'udp':
                s.send(b'hello')
                s.recv(16)
            found[target] = True
        except OSError:
            found[target] = False
threads = [threading.Thread(target=probe, args=(target,)) for target in sys.argv[1:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(found))
`;

describe('what a sandbox in gVisor may reach, packet by packet', { timeout: 480_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-egress-'));
  let outside: OutsideNetwork;
  let hostService: Server;
  let up: RunningUp;
  const ownTable = `sandbox_router_${createHash('sha256').update(join(stateDirectory, 'engine')).digest('hex').slice(0, 4)}`;
  /** Everything that is tried each time, by a short name. */
  let targets: Record<string, string>;

  const tables = async () => (await execute('nft', ['list', 'tables'])).stdout;
  const start = () =>
    startUp({
      directory: projectRoot,
      stateDirectory,
      runtime: 'gvisor',
      environment: { SANDBOX_ROUTER_NAME_SERVERS: DNS, SANDBOX_ROUTER_EGRESS_VERIFY: 'enforce' },
    });

  before(async () => {
    outside = await makeOutsideNetwork({
      directory: stateDirectory,
      addresses: [A, B, DNS, PRIVATE, METADATA],
      nameServer: DNS,
      tcpPorts: [80, 8080, 8081, 8082],
      udpPorts: [5000],
    });
    hostService = createServer((socket) => socket.end()).listen(0, '0.0.0.0');
    await once(hostService, 'listening');
    up = await start();
    assert.ok((await tables()).includes(ownTable));
    await apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'far', labels: { team: 'far' } } },
      sandbox('box', { labels: { app: 'box' } }),
      sandbox('peer', { labels: { app: 'peer' }, service: true }),
      sandbox('third', { labels: { app: 'third' }, namespace: 'far' }),
    ]);
    const peer = await addressOf('peer');
    const third = await addressOf('third', 'far');
    await addressOf('box');
    const gateway = peer.replace(/\.\d+$/, '.1');
    const hostPort = (hostService.address() as AddressInfo).port;
    targets = {
      'A tcp 80': `tcp:${A}:80`,
      'A tcp 8080': `tcp:${A}:8080`,
      'A tcp 8081': `tcp:${A}:8081`,
      'A tcp 8082': `tcp:${A}:8082`,
      'A udp 5000': `udp:${A}:5000`,
      'B tcp 80': `tcp:${B}:80`,
      'private tcp 80': `tcp:${PRIVATE}:80`,
      'peer 8888': `tcp:${peer}:8888`,
      'third 8888': `tcp:${third}:8888`,
      'metadata tcp 80': `tcp:${METADATA}:80`,
      'host by its own address': `tcp:${NEAR}:${hostPort}`,
      'host by the gateway': `tcp:${gateway}:${hostPort}`,
      'engine API': `tcp:${gateway}:${new URL(await serverOf()).port}`,
      'another tcp 80': `tcp:${DNS}:80`,
    };
  });
  after(async () => {
    await up?.interrupt();
    await outside?.close();
    hostService?.close();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  const A_ALL = ['A tcp 80', 'A tcp 8080', 'A tcp 8081', 'A tcp 8082', 'A udp 5000'];
  const OUTSIDE = [...A_ALL, 'B tcp 80', 'another tcp 80'];
  const to = (peer: object) => [{ to: [peer] }];
  const block = (cidr: string, ...except: string[]) => ({ ipBlock: { cidr, ...(except.length ? { except } : {}) } });
  const cases: [name: string, egress: object[] | undefined, reached: string[]][] = [
    ['no policy', undefined, []],
    ['a policy without rules', [], []],
    ['one address', to(block(`${A}/32`)), A_ALL],
    ['a block, written with host bits', to(block('198.51.100.77/24')), OUTSIDE],
    [
      'a block with exceptions, one within the other',
      to(block('198.51.100.0/24', `${B}/32`, '198.51.100.48/28', `${DNS}/32`)),
      A_ALL,
    ],
    ['a port, TCP by default', [{ to: [block(`${A}/32`)], ports: [{ port: 80 }] }], ['A tcp 80']],
    [
      'a range of ports and one that overlaps it',
      [{ to: [block(`${A}/32`)], ports: [{ port: 8080, endPort: 8081 }, { port: 8081 }] }],
      ['A tcp 8080', 'A tcp 8081'],
    ],
    ['a protocol', [{ to: [block(`${A}/32`)], ports: [{ protocol: 'UDP' }] }], ['A udp 5000']],
    [
      'a port of UDP and one of TCP',
      [{ to: [block(`${A}/32`)], ports: [{ protocol: 'UDP', port: 5000 }, { port: 8082 }] }],
      ['A tcp 8082', 'A udp 5000'],
    ],
    [
      'a port without a destination',
      [{ ports: [{ port: 80 }] }],
      ['A tcp 80', 'B tcp 80', 'private tcp 80', 'another tcp 80'],
    ],
    ['pods of the own namespace', to({ podSelector: { matchLabels: { app: 'peer' } } }), ['peer 8888']],
    [
      'pods by expression',
      to({ podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['peer'] }] } }),
      ['peer 8888'],
    ],
    ['a selector that means a pod elsewhere', to({ podSelector: { matchLabels: { app: 'third' } } }), []],
    ['a namespace', to({ namespaceSelector: { matchLabels: { team: 'far' } } }), ['third 8888']],
    [
      'pods of a namespace, by its name',
      to({
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'far' } },
        podSelector: { matchLabels: { app: 'third' } },
      }),
      ['third 8888'],
    ],
    [
      'a namespace whose pods are others',
      to({ namespaceSelector: { matchLabels: { team: 'far' } }, podSelector: { matchLabels: { app: 'peer' } } }),
      [],
    ],
    ['a named port', [{ to: [{ podSelector: {} }], ports: [{ port: 'http' }] }], ['peer 8888']],
    ['a named port that nobody has', [{ to: [{ podSelector: {} }], ports: [{ port: 'grpc' }] }], []],
    ['every address: no sandbox, no link-local', to(block('0.0.0.0/0')), [...OUTSIDE, 'private tcp 80']],
    ['metadata by name of its block', to(block('169.254.0.0/16')), []],
    ["the default policy's block", to(block('0.0.0.0/0', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16')), OUTSIDE],
    ['everything', [{}], [...OUTSIDE, 'private tcp 80', 'peer 8888', 'third 8888']],
    [
      'rules that add up',
      [...to(block(`${B}/32`)), ...to({ podSelector: { matchLabels: { app: 'peer' } } })],
      ['B tcp 80', 'peer 8888'],
    ],
    ['IPv6 only', to(block('::/0')), []],
  ];
  for (const [name, egress, reached] of cases)
    it(`${name} → ${reached.join(', ') || 'nothing'}`, async () => {
      await setPolicy('box', egress);
      await reachesExactly('box', reached);
    });

  it('a policy that is applied is in effect within a second, as is its end', async (test) => {
    await setPolicy('box', undefined);
    await reachesExactly('box', []);
    for (const [what, egress] of [
      ['opened', to(block(`${A}/32`))],
      ['closed', undefined],
    ] as const) {
      await setPolicy('box', egress === undefined ? undefined : [...egress]);
      const appliedAt = performance.now();
      const wanted = what === 'opened';
      await until(what, async () => (await probe('box', { a: `tcp:${A}:80` })).a === wanted);
      const elapsedMs = performance.now() - appliedAt;
      test.diagnostic(`${what} within ${elapsedMs.toFixed(0)} ms, the probe's own time included`);
      assert.ok(elapsedMs < 10_000);
    }
  });

  describe('ingress', () => {
    const ingress = (rules: object[]) => policy('peer-ingress', 'peer', { policyTypes: ['Ingress'], ingress: rules });
    before(() => setPolicy('box', [{}]));
    after(() => up.kubectl('delete', 'networkpolicy', 'peer-ingress', '--ignore-not-found'));
    const table: [name: string, rules: object[], open: boolean][] = [
      ['nobody', [], false],
      ['another app', [{ from: [{ podSelector: { matchLabels: { app: 'other' } } }] }], false],
      ['this app', [{ from: [{ podSelector: { matchLabels: { app: 'box' } } }] }], true],
      ['this app on another port', [{ from: [{ podSelector: {} }], ports: [{ port: 1 }] }], false],
      ['this app on a named port', [{ from: [{ podSelector: {} }], ports: [{ port: 'http' }] }], true],
      ['a block, which means no sandbox', [{ from: [block('0.0.0.0/0')] }], false],
      ['anybody', [{}], true],
    ];
    for (const [name, rules, open] of table)
      it(`lets in ${name}`, async () => {
        await apply([ingress(rules)]);
        const { 'peer 8888': target = '' } = targets;
        await until(`${open}`, async () => (await probe('box', { target })).target === open);
      });
    it('the outside gets in only where a rule says so', async () => {
      const address = await addressOf('peer');
      await up.kubectl('delete', 'networkpolicy', 'peer-ingress');
      await until('closed without a policy', () => !outside.connects(address, 8888));
      await apply([ingress([{ from: [block(`${B}/32`)] }])]);
      assert.equal(outside.connects(address, 8888), false);
      await apply([ingress([{ from: [block('198.51.100.0/24'), block(`${PRIVATE}/32`), block(`${METADATA}/32`)] }])]);
      await until('open by its block', () => outside.connects(address, 8888));
    });
    it('the router reaches it all the same', async () => {
      await apply([ingress([])]);
      const answer = await fetch(`http://${await addressOf('peer')}:8888/`);
      assert.ok(answer.status < 500);
    });
  });

  describe('over a pause and a restart of the engine', () => {
    before(() => setPolicy('box', to(block('198.51.100.0/24', `${B}/32`, `${DNS}/32`))));
    it('holds after a restore from a snapshot', async () => {
      await reachesExactly('box', A_ALL);
      await command('pause', 'box');
      await command('resume', 'box');
      await reachesExactly('box', A_ALL);
    });
    it('holds while the engine is dead and after it was killed', async () => {
      const address = await addressOf('box');
      await up.kill();
      const reached = Object.entries(await probeAt(address, targets)).filter(([, open]) => open);
      assert.deepEqual(reached.map(([name]) => name).sort(), A_ALL.toSorted());
      up = await start();
      targets['engine API'] = `tcp:${NEAR}:${new URL(await serverOf()).port}`;
      await reachesExactly('box', A_ALL);
      await setPolicy('box', undefined);
      await reachesExactly('box', []);
      await setPolicy('box', to(block(`${B}/32`)));
      await reachesExactly('box', ['B tcp 80']);
    });
    it('holds after the engine was stopped and started', async () => {
      await up.interrupt();
      assert.ok(!(await tables()).includes(ownTable), 'nothing is left of the rules');
      up = await start();
      targets['engine API'] = `tcp:${NEAR}:${new URL(await serverOf()).port}`;
      await reachesExactly('box', ['B tcp 80']);
    });
  });

  describe('by DNS name', () => {
    before(async () => {
      outside.setZone({
        'api.example.com': { address: A, ttl: 1 },
        'alias.example.com': { alias: 'api.example.com', ttl: 1 },
        'deep.wild.example.com': { address: B, ttl: 60 },
        'wild.example.com': { address: B, ttl: 60 },
        'long.example.com': { address: B, ttl: 60, truncate: true },
        'private.example.com': { address: PRIVATE, ttl: 60 },
        'metadata.example.com': { address: METADATA, ttl: 60 },
        'secret.example.org': { address: B, ttl: 60 },
      });
      const names = [
        'api.example.com:8080',
        'alias.example.com:8081',
        '*.wild.example.com:80',
        'long.example.com',
        'private.example.com',
        'metadata.example.com',
      ];
      await apply([
        sandbox('named', {
          labels: { app: 'named' },
          annotations: { 'sandbox-router/egress-allow-names': names.join(', ') },
        }),
      ]);
      await addressOf('named');
    });
    const opens = async (target: string) => (await probe('named', { target })).target;

    it('nothing is open before it is asked for', async () => {
      await reachesExactly('named', []);
    });
    it('a name opens the address in its answer, on its port', async () => {
      assert.equal(await resolve('api.example.com'), A);
      assert.equal(await opens(`tcp:${A}:8080`), true);
      assert.equal(await opens(`tcp:${A}:80`), false);
      assert.equal(await opens(`tcp:${B}:8080`), false);
    });
    it('also through an alias, and when the answer needs TCP', async () => {
      assert.equal(await resolve('alias.example.com'), A);
      assert.equal(await opens(`tcp:${A}:8081`), true);
      assert.equal(await resolve('long.example.com'), B);
      assert.equal(await opens(`tcp:${B}:8082`), true);
    });
    it('a wildcard stands for names below, not for itself', async () => {
      assert.equal(await resolve('deep.wild.example.com'), B);
      assert.equal(await resolve('wild.example.com'), 'none');
    });
    it('other names are not asked for at all', async () => {
      assert.equal(await resolve('secret.example.org'), 'none');
      assert.equal(await resolve('api.example.com', 'box'), 'none');
    });
    it('a name that leads to private or link-local addresses opens nothing', async () => {
      assert.equal(await resolve('private.example.com'), PRIVATE);
      assert.equal(await opens(`tcp:${PRIVATE}:80`), false);
      assert.equal(await resolve('metadata.example.com'), METADATA);
      assert.equal(await opens(`tcp:${METADATA}:80`), false);
    });
    it('a changed address is followed, and the old one closes', async () => {
      outside.setZone({ 'api.example.com': { address: B, ttl: 1 } });
      await until('the new address', async () => (await resolve('api.example.com')) === B);
      assert.equal(await opens(`tcp:${B}:8080`), true);
      await until('the old address closes', async () => (await opens(`tcp:${A}:8080`)) === false);
    });
    it('a name is followed after a restore, and by the next engine after one that was killed', async () => {
      const followed = async () => {
        await until('the name resolves', async () => (await resolve('api.example.com')) === B);
        assert.equal(await opens(`tcp:${B}:8080`), true);
        for (const closed of [`tcp:${A}:8080`, `tcp:${B}:80`, `tcp:${METADATA}:80`])
          assert.equal(await opens(closed), false);
      };
      await command('pause', 'named');
      await command('resume', 'named');
      await followed();
      await up.kill();
      up = await start();
      targets['engine API'] = `tcp:${NEAR}:${new URL(await serverOf()).port}`;
      await followed();
    });
    it('a policy that lets a pod reach cluster DNS lets it resolve any name, and no more', async () => {
      outside.setZone({ 'secret.example.org': { address: B, ttl: 60 } });
      await setPolicy('box', [
        {
          to: [{ namespaceSelector: {}, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } }],
          ports: [{ protocol: 'UDP', port: 53 }],
        },
      ]);
      await until('it resolves', async () => (await resolve('secret.example.org', 'box')) === B);
      await reachesExactly('box', []);
    });
    it("a Service's name stands for its pods", async () => {
      const peer = await addressOf('peer');
      assert.equal(await resolve('peer.default.svc.cluster.local', 'box'), peer);
      assert.equal(await resolve('peer', 'box'), peer);
      assert.equal(await resolve('nobody.default.svc.cluster.local', 'box'), 'none');
    });
    it('a list that cannot be read allows nothing and says so', async () => {
      await apply([
        sandbox('wrong', { annotations: { 'sandbox-router/egress-allow-names': 'api.example.com, https://x' } }),
      ]);
      await addressOf('wrong');
      await until('an event', async () => /"https:\/\/x"|https/.test(await up.kubectl('get', 'events')));
      assert.equal(await resolve('api.example.com', 'wrong'), 'none');
    });
  });

  describe('together with the verdict of the router', () => {
    const status = async () => {
      const answer = await up.request('/classed/', { headers: { accept: 'application/json' } });
      const text = await answer.text();
      return text.includes('egress_unenforced')
        ? 'egress_unenforced'
        : answer.status < 500
          ? 'open'
          : `${answer.status} ${text}`;
    };
    before(async () => {
      outside.setZone({ 'api.example.com': { address: B, ttl: 60 } });
      const annotations = { 'sandbox-router/egress-allow-names': 'api.example.com' };
      await apply([sandbox('classed', { labels: { app: 'classed', 'sandbox-router/egress': 'none' }, annotations })]);
      await addressOf('classed');
    });
    it('a label that no policy enforces is refused, and no packet leaves', async () => {
      await until('refused', async () => (await status()) === 'egress_unenforced');
      await reachesExactly('classed', []);
    });
    it('names are not allowed to a class that promises to call nobody', async () => {
      assert.equal(await resolve('api.example.com', 'classed'), 'none');
    });
    it('the right policy opens it, and no packet leaves', async () => {
      await setPolicy('classed', []);
      await until('open', async () => (await status()) === 'open');
      await reachesExactly('classed', []);
    });
    it('a policy that allows more than the class promises closes it; the packets show why', async () => {
      await setPolicy('classed', to(block(`${A}/32`)));
      await until('refused', async () => (await status()) === 'egress_unenforced');
      await reachesExactly('classed', A_ALL);
    });
  });

  interface SandboxOptions {
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    namespace?: string;
    service?: boolean;
  }

  function sandbox(name: string, { labels = {}, annotations = {}, namespace = 'default', service }: SandboxOptions) {
    return {
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      metadata: { name, namespace },
      spec: {
        ...(service === undefined ? {} : { service }),
        podTemplate: {
          metadata: { labels, annotations },
          spec: {
            runtimeClassName: 'gvisor',
            terminationGracePeriodSeconds: 0,
            containers: [
              {
                name: 'agent',
                image: 'sandbox-router.local/toolbox',
                ports: [{ name: name === 'third' ? 'other' : 'http', containerPort: 8888 }],
              },
            ],
          },
        },
      },
    };
  }

  function policy(name: string, app: string, spec: object) {
    return {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name, namespace: 'default' },
      spec: { podSelector: { matchLabels: { app } }, ...spec },
    };
  }

  async function apply(objects: object[]): Promise<void> {
    const path = join(stateDirectory, 'manifest.json');
    writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
    await up.kubectl('apply', '--validate=false', '-f', path);
  }

  /** The one egress policy of an app; undefined for none. */
  async function setPolicy(app: string, egress: object[] | undefined): Promise<void> {
    if (egress === undefined) await up.kubectl('delete', 'networkpolicy', `${app}-egress`, '--ignore-not-found');
    else await apply([policy(`${app}-egress`, app, { policyTypes: ['Egress'], egress })]);
  }

  /** Address that a name has inside a sandbox; `none` if it has none. */
  async function resolve(name: string, box = 'named'): Promise<string> {
    const script = `python3 -c 'import socket; print(socket.gethostbyname("${name}"))' 2>/dev/null || echo none`;
    return (await run(await addressOf(box), script)).stdout.trim();
  }

  async function addressOf(name: string, namespace = 'default'): Promise<string> {
    return await until(`${name} is ready`, async () => {
      const pod = await up.kubectl('-n', namespace, 'get', 'pod', name, '-o', 'json', '--ignore-not-found');
      if (pod === '') return undefined;
      const { status } = JSON.parse(pod) as {
        status?: { podIP?: string; conditions?: { type: string; status: string }[] };
      };
      const ready = status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True');
      return ready === true ? status?.podIP : undefined;
    });
  }

  /** Runs a command in a sandbox, through its agent. */
  async function run(address: string, text: string): Promise<{ stdout: string; stderr: string }> {
    const answer = await fetch(`http://${address}:8888/execute`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify({ command: text }),
    });
    return (await answer.json()) as { stdout: string; stderr: string };
  }

  async function probeAt<Name extends string>(
    address: string,
    asked: Record<Name, string>,
  ): Promise<Record<Name, boolean>> {
    const names = Object.keys(asked) as Name[];
    const { stdout, stderr } = await run(
      address,
      `python3 -c "$(cat <<'PROBE'${PROBE}PROBE\n)" ${Object.values(asked).join(' ')}`,
    );
    assert.notEqual(stdout, '', stderr);
    const found = JSON.parse(stdout) as Record<string, boolean>;
    return Object.fromEntries(names.map((name) => [name, found[asked[name]] === true])) as Record<Name, boolean>;
  }

  async function probe<Name extends string>(name: string, asked: Record<Name, string>): Promise<Record<Name, boolean>> {
    return await probeAt(await addressOf(name), asked);
  }

  async function reachesExactly(name: string, wanted: string[]): Promise<void> {
    let reached: string[] = [];
    try {
      await until(
        'exactly those',
        async () => {
          const found = await probe(name, targets);
          reached = Object.keys(found).filter((target) => found[target]);
          return isDeepStrictEqual(reached.toSorted(), wanted.toSorted());
        },
        10_000,
      );
    } catch {
      assert.deepEqual(reached.toSorted(), wanted.toSorted());
    }
  }

  async function command(...words: string[]): Promise<void> {
    await execute(process.execPath, ['src/cli/main.ts', ...words, '--state-dir', stateDirectory], { cwd: projectRoot });
  }

  async function serverOf(): Promise<string> {
    return (await up.kubectl('config', 'view', '-o', 'jsonpath={.clusters[0].cluster.server}')).trim();
  }
});
