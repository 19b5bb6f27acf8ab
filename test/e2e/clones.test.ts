import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  createHttpResourceClient,
  EVENTS,
  type HttpResourceClient,
  type KubernetesObject,
  loadKubeConfig,
  PODS,
  type Pod,
  type ResourceType,
  SANDBOX_CLAIMS,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
} from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { footprint, leaked, NOTHING_LEFT } from '../support/leaks.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const PORT = 8000;
/** Moments at which the engine is killed, in milliseconds after a template changed: the seed starts, gets Ready, is checkpointed, copies start. */
const KILL_AFTER_MS = (process.env.CLONE_KILLS_MS ?? '350,800').split(',').map(Number);
/** Says what it knows of itself. `born` was drawn before the snapshot: copies have it in common. */
const PROGRAM = `
import base64, http.server, json, os, random, socket
born, told, count = os.urandom(8).hex(), None, 0
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        global told
        body = self.rfile.read(int(self.headers['content-length']))
        if self.path == '/file':
            open('/workspace/file', 'wb').write(body)
        else:
            told = json.loads(body)
            random.seed(base64.b64decode(told['entropy']))
        self.answer({})
    def do_GET(self):
        global count
        count += 1
        file = open('/workspace/file').read() if os.path.exists('/workspace/file') else None
        self.answer({'born': born, 'told': told and told['name'], 'hostname': socket.gethostname(), 'count': count,
            'drawn': random.random(), 'kernel': os.urandom(8).hex(), 'file': file, 'revision': os.environ['REVISION']})
    def log_message(self, *_): pass
http.server.HTTPServer(('0.0.0.0', ${PORT}), Handler).serve_forever()
`;

interface Answer {
  born: string;
  told: string | null;
  hostname: string;
  count: number;
  drawn: number;
  kernel: string;
  file: string | null;
  revision: string;
}

describe('pools of copies', { timeout: 240_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-clones-'));
  const start = () => startUp({ directory: projectRoot, stateDirectory, runtime: 'gvisor' });
  let footprintBefore: ReturnType<typeof footprint>;
  let up: RunningUp;
  let client: HttpResourceClient;

  before(async () => {
    footprintBefore = footprint(stateDirectory);
    up = await start();
    client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
  });
  after(async () => {
    await client.close();
    await up?.interrupt();
    const left = leaked(footprintBefore, footprint(stateDirectory));
    rmSync(stateDirectory, { recursive: true, force: true });
    assert.deepEqual(left, NOTHING_LEFT);
  });

  const create = (type: ResourceType, metadata: object, spec: object) =>
    client.create(type, {
      apiVersion: `${type.group}/${type.version}`,
      kind: type.kind,
      metadata: { namespace: 'default', ...metadata },
      spec,
    } as never);
  const podTemplate = (revision: string, annotations: Record<string, string> = {}) => ({
    metadata: { annotations: { 'sandbox-router/clone-hook': '/copied', ...annotations } },
    spec: {
      runtimeClassName: 'gvisor',
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image: 'sandbox-router.local/toolbox',
          command: ['python3', '-c', PROGRAM],
          env: [{ name: 'REVISION', value: revision }],
          ports: [{ name: 'http', containerPort: PORT }],
        },
      ],
    },
  });
  const makeTemplate = (name: string, template: object) =>
    create(
      SANDBOX_TEMPLATES,
      { name, annotations: { 'sandbox-router/clone-from-snapshot': 'true' } },
      { podTemplate: template, networkPolicyManagement: 'Unmanaged' },
    );
  const makePool = (name: string, replicas: number) =>
    create(
      SANDBOX_WARM_POOLS,
      { name },
      { replicas, sandboxTemplateRef: { name }, updateStrategy: { type: 'Recreate' } },
    );
  const readyMembers = (pool: string, count: number, fits: (sandbox: Sandbox) => boolean = () => true) =>
    until(
      `pool ${pool} has ${count} Ready`,
      async () => {
        const { items } = await client.list<Sandbox>(SANDBOXES, { namespace: 'default' });
        const ready = items.filter(
          ({ metadata, status }) =>
            metadata.ownerReferences?.[0]?.name === pool &&
            status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
        );
        return ready.length === count && ready.every(fits) && ready;
      },
      60_000,
    );
  const podOf = ({ metadata }: Sandbox) => client.get<Pod>(PODS, { namespace: 'default', name: metadata.name });
  const restoredOf = async (sandbox: Sandbox) =>
    (await podOf(sandbox)).status?.conditions?.find(({ type }) => type === 'PodRestored');
  const ask = async (sandbox: Sandbox): Promise<Answer> => {
    const response = await fetch(`http://${sandbox.status?.podIPs?.[0]}:${PORT}/`);
    return (await response.json()) as Answer;
  };
  const templateSnapshots = () =>
    readdirSync(join(stateDirectory, 'engine/snapshots')).filter((file) => file.startsWith('template-'));
  const seeds = async () =>
    (await client.list<Pod>(PODS, { namespace: 'default' })).items.filter(({ metadata }) =>
      metadata.name.includes('-seed-'),
    );
  const distinct = (values: unknown[]) => new Set(values).size === values.length;

  it('members share a past and nothing else: name, address, host name, randomness and files are their own', async () => {
    await makeTemplate('copied', podTemplate('one'));
    await makePool('copied', 3);
    const members = await readyMembers('copied', 3);
    const answers = await Promise.all(members.map(ask));
    assert.equal(new Set(answers.map(({ born }) => born)).size, 1);
    assert.ok(distinct(members.map(({ status }) => status?.podIPs?.[0])));
    assert.deepEqual(
      answers.map(({ hostname }) => hostname),
      members.map(({ metadata }) => metadata.name),
    );
    assert.deepEqual(
      answers.map(({ told }) => told),
      members.map(({ metadata }) => metadata.name),
    );
    assert.ok(distinct(answers.map(({ drawn }) => drawn)));
    assert.ok(distinct(answers.map(({ kernel }) => kernel)));
    const [first, ...others] = members;
    assert.ok(first);
    await fetch(`http://${first.status?.podIPs?.[0]}:${PORT}/file`, { method: 'POST', body: 'mine' });
    assert.equal((await ask(first)).file, 'mine');
    for (const other of others) assert.equal((await ask(other)).file, null);
    for (const member of members) assert.equal((await restoredOf(member))?.reason, 'Cloned');
    assert.deepEqual(await seeds(), []);
    assert.equal(templateSnapshots().length, 2);
  });

  it('members of several containers are copied with all of them, and what they share in memory', async () => {
    const template = podTemplate('two', { 'sandbox-router/clone-hook': '/copied' });
    const [main] = template.spec.containers;
    const volumeMounts = [{ name: 'shared', mountPath: '/shared' }];
    const shell = (name: string, script: string) => ({
      name,
      image: 'sandbox-router.local/toolbox',
      command: ['/bin/sh', '-c', script],
      volumeMounts,
    });
    const spec = {
      ...template.spec,
      volumes: [{ name: 'shared', emptyDir: {} }],
      initContainers: [shell('first', 'head -c 8 /dev/urandom | od -An -tx1 > /shared/born')],
      containers: [
        { ...main, volumeMounts },
        shell('beside', 'born=$(cat /shared/born); while sleep 0.2; do echo $born; done'),
      ],
    };
    await makeTemplate('several', { ...template, spec });
    await makePool('several', 2);
    const members = await readyMembers('several', 2);
    const answers = await Promise.all(members.map(ask));
    assert.equal(new Set(answers.map(({ born }) => born)).size, 1);
    assert.deepEqual(
      answers.map(({ told }) => told),
      members.map(({ metadata }) => metadata.name),
    );
    const drawnBefore = new Set<string>();
    for (const member of members) {
      assert.deepEqual((await restoredOf(member))?.reason, 'Cloned', (await restoredOf(member))?.message);
      const { name } = member.metadata;
      assert.match(await up.kubectl('get', 'pod', name, '--no-headers'), /\s2\/2\s+Running\s+0\s/);
      drawnBefore.add(
        await until('it speaks', async () => (await up.kubectl('logs', name, '-c', 'beside', '--tail=1')) || undefined),
      );
      await up.kubectl('exec', name, '-c', 'beside', '--', 'sh', '-c', `echo ${name} > /shared/own`);
    }
    assert.equal(drawnBefore.size, 1, 'init containers ran once, for all of them');
    for (const { metadata } of members)
      assert.equal(
        await up.kubectl('exec', metadata.name, '-c', 'main', '--', 'cat', '/shared/own'),
        `${metadata.name}\n`,
      );
    await client.delete(SANDBOX_WARM_POOLS, { namespace: 'default', name: 'several' });
    await client.delete(SANDBOX_TEMPLATES, { namespace: 'default', name: 'several' });
    await until('their snapshot is gone', () => templateSnapshots().length === 2);
  });

  it('a claimed copy is not restarted, and sleeps and wakes as any other', async () => {
    await create(SANDBOX_CLAIMS, { name: 'mine' }, { warmPoolRef: { name: 'copied' } });
    const claim = await until('the claim is Ready', async () => {
      const found = await client.get<SandboxClaim>(SANDBOX_CLAIMS, { namespace: 'default', name: 'mine' });
      return found.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') && found;
    });
    const key = { namespace: 'default', name: claim.status?.sandbox?.name ?? '' };
    const sandbox = await client.get<Sandbox>(SANDBOXES, key);
    assert.equal(sandbox.metadata.labels?.['agents.x-k8s.io/launch-type'], 'warm');
    const pod = await podOf(sandbox);
    assert.equal((await restoredOf(sandbox))?.reason, 'Cloned');
    const { count, born } = await ask(sandbox);
    const setMode = (operatingMode: string) =>
      client.patch(SANDBOXES, key, { spec: { operatingMode } }, { type: 'merge' });
    await setMode('Suspended');
    await until('it is suspended', async () => {
      const { status } = await client.get<Sandbox>(SANDBOXES, key);
      return status?.conditions?.some(({ type, status: value }) => type === 'Suspended' && value === 'True');
    });
    const woken = await up.request(`/${key.name}:${PORT}/`);
    assert.equal(woken.status, 200);
    const answer = (await woken.json()) as Answer;
    assert.equal(answer.count, count + 1);
    assert.equal(answer.born, born);
    assert.equal(answer.hostname, key.name);
    assert.notEqual((await podOf(sandbox)).metadata.uid, pod.metadata.uid);
  });

  it('another revision of the template has a snapshot of its own, and the old one is gone', async () => {
    const [before_] = await readyMembers('copied', 3);
    assert.ok(before_);
    const { born } = await ask(before_);
    const old = templateSnapshots();
    await client.patch(
      SANDBOX_TEMPLATES,
      { namespace: 'default', name: 'copied' },
      { spec: { podTemplate: podTemplate('two') } },
      { type: 'merge' },
    );
    const fresh = await readyMembers('copied', 3, ({ spec }) => JSON.stringify(spec).includes('"two"'));
    const answers = await Promise.all(fresh.map(ask));
    assert.deepEqual(new Set(answers.map(({ revision }) => revision)), new Set(['two']));
    assert.equal(new Set(answers.map((answer) => answer.born)).size, 1);
    assert.notEqual(answers[0]?.born, born);
    await until('only the new snapshot is left', () => {
      const now = templateSnapshots();
      return now.length === 2 && now.every((file) => !old.includes(file));
    });
  });

  for (const [index, afterMs] of KILL_AFTER_MS.entries())
    it(`kill -9 ${afterMs} ms after a change: the pool is filled with copies of the new revision, nothing is left over`, async () => {
      const revision = `killed-${index}`;
      await client.patch(
        SANDBOX_TEMPLATES,
        { namespace: 'default', name: 'copied' },
        { spec: { podTemplate: podTemplate(revision) } },
        { type: 'merge' },
      );
      await delay(afterMs);
      await up.kill();
      await client.close();
      up = await start();
      client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
      const members = await readyMembers('copied', 3, ({ spec }) => JSON.stringify(spec).includes(`"${revision}"`));
      const answers = await Promise.all(members.map(ask));
      const restored = await Promise.all(members.map(restoredOf));
      assert.deepEqual(
        restored.map((condition) => condition?.reason),
        ['Cloned', 'Cloned', 'Cloned'],
        restored.map((condition) => condition?.message).join('\n'),
      );
      assert.equal(new Set(answers.map(({ born }) => born)).size, 1);
      assert.deepEqual(
        answers.map(({ hostname, told }) => [hostname, told]),
        members.map(({ metadata }) => [metadata.name, metadata.name]),
      );
      await until('one snapshot and no seed is left', async () => {
        return templateSnapshots().length === 2 && (await seeds()).length === 0;
      });
    });

  it('the engine after one that was killed keeps the snapshot of which members run, and copies more from it', async () => {
    const kept = templateSnapshots();
    const born = (await Promise.all((await readyMembers('copied', 3)).map(ask)))[0]?.born;
    await up.kill();
    await client.close();
    up = await start();
    client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
    await readyMembers('copied', 3);
    const key = { namespace: 'default', name: 'copied' };
    await client.patch(SANDBOX_WARM_POOLS, key, { spec: { replicas: 4 } }, { type: 'merge' });
    const answers = await Promise.all((await readyMembers('copied', 4)).map(ask));
    assert.deepEqual(new Set(answers.map((answer) => answer.born)), new Set([born]));
    assert.deepEqual(templateSnapshots(), kept);
    await client.patch(SANDBOX_WARM_POOLS, key, { spec: { replicas: 3 } }, { type: 'merge' });
  });

  it('a copy whose hook fails is started from its command instead, and its Pod says so', async () => {
    await makeTemplate('deaf', podTemplate('one', { 'sandbox-router/clone-hook': ':81/nobody' }));
    await makePool('deaf', 1);
    const [member] = await readyMembers('deaf', 1);
    assert.ok(member);
    const restored = await restoredOf(member);
    assert.equal(restored?.reason, 'StartedCold');
    assert.match(restored?.message ?? '', /clone hook/);
    assert.equal((await ask(member)).hostname, member.metadata.name);
    await client.delete(SANDBOX_WARM_POOLS, { namespace: 'default', name: 'deaf' });
    await until('its snapshot goes with the pool', () => templateSnapshots().length === 2);
  });

  it('a program that ends before it is Ready is told on the template; the pool is filled from the command', async () => {
    const { spec, metadata } = podTemplate('one');
    const containers = spec.containers.map((container) => ({ ...container, command: ['false'] }));
    await makeTemplate('broken', { metadata, spec: { ...spec, containers } });
    await makePool('broken', 1);
    await until('the failure is told', async () => {
      const { items } = await client.list<KubernetesObject & { reason: string; message: string }>(EVENTS, {
        namespace: 'default',
      });
      return items.some(({ reason, message }) => reason === 'TemplateSnapshotFailed' && /CrashLoop/.test(message));
    });
    await until('a member is started from its command', async () => {
      const { items } = await client.list<Sandbox>(SANDBOXES, { namespace: 'default' });
      return items.some(({ metadata: { ownerReferences } }) => ownerReferences?.[0]?.name === 'broken');
    });
    await client.delete(SANDBOX_WARM_POOLS, { namespace: 'default', name: 'broken' });
  });
});
