import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { projectRoot } from '../support/checkout.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);
const TOOLBOX = 'sandbox-router.local/toolbox';
/** Notes what it is asked for, and never says yes. */
const REFUSING_SERVER = `
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    open('/evidence/asked', 'a').write(self.path + ' ' + self.headers['x-hook'] + '\\n')
    self.send_error(404)
http.server.HTTPServer(('', 7000), Handler).serve_forever()`;

describe('hooks of containers, in gVisor', { timeout: 300_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-pod-lifecycle-'));
  let up: RunningUp;

  before(async () => {
    up = await startUp({ directory: projectRoot, stateDirectory });
    await up.apply({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'evidence', namespace: 'default' },
      spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Mi' } } },
    });
  });
  after(async () => {
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  it('postStart is over before a container is ready, and before the next one is begun', async () => {
    await up.apply(
      sandbox('ordered', [
        { ...container('first'), lifecycle: { postStart: exec('sleep 1; date +%s%N > /evidence/hook-over') } },
        container('second', 'date +%s%N > /evidence/second-begun; exec sleep 1000'),
      ]),
    );
    await up.kubectl('wait', '--for=condition=Ready', 'sandbox/ordered', '--timeout=60s');
    assert.ok(BigInt(evidence('hook-over') ?? 0) > 0n);
    // The shell makes the file before there is something in it.
    const begun = await until('the second one has begun', () => evidence('second-begun')?.trim() || undefined);
    assert.ok(BigInt(begun) > BigInt(evidence('hook-over') ?? 0));
    await up.kubectl('delete', 'sandbox', 'ordered', '--wait');
  });

  it('a container whose postStart fails is ended and started again, with the events of a kubelet', async () => {
    await up.apply(
      sandbox('unlucky', [{ ...container('main'), lifecycle: { postStart: exec('echo a secret; exit 3') } }], 1),
    );
    await until('it was started again', async () =>
      /^unlucky\s+0\/1\s+\S+\s+[1-9]/.test(
        await up.kubectl('get', 'pod', 'unlucky', '--no-headers', '--ignore-not-found'),
      ),
    );
    const events = await eventsOf('unlucky');
    assert.match(events, /^Warning FailedPostStartHook PostStartHook failed spec\.containers\{main\}$/m);
    assert.match(events, /^Normal Killing FailedPostStartHook spec\.containers\{main\}$/m);
    assert.doesNotMatch(events, /secret/);
    await up.kubectl('delete', 'sandbox', 'unlucky', '--wait');
  });

  it('preStop is run before each container of a deleted Pod is told to end; an answer of any kind will do', async () => {
    await up.apply(
      sandbox('polite', [
        {
          ...container('server'),
          command: ['python3', '-c', REFUSING_SERVER],
          ports: [{ name: 'web', containerPort: 7000 }],
          lifecycle: {
            preStop: { httpGet: { port: 'web', path: '/bye', httpHeaders: [{ name: 'x-hook', value: 'preStop' }] } },
          },
        },
        { ...container('main'), lifecycle: { preStop: exec('sleep 1; echo $HOSTNAME > /evidence/main-stopping') } },
        { ...container('failing'), lifecycle: { preStop: exec('exit 1') } },
      ]),
    );
    await up.kubectl('wait', '--for=condition=Ready', 'sandbox/polite', '--timeout=60s');
    await up.kubectl('delete', 'sandbox', 'polite', '--wait');
    await until('both hooks left their trace', () => (evidence('main-stopping') && evidence('asked')) || undefined);
    assert.equal(evidence('asked'), '/bye preStop\n');
    await until('the one that failed is told of', async () =>
      /^Warning FailedPreStopHook PreStopHook failed spec\.containers\{failing\}$/m.test(await eventsOf('polite')),
    );
    assert.equal((await eventsOf('polite')).match(/FailedPreStopHook/g)?.length, 1);
  });

  it('a preStop that takes longer than the grace period is not waited for', async () => {
    await up.apply(
      sandbox(
        'endless',
        [{ ...container('main'), lifecycle: { preStop: exec('touch /evidence/endless; sleep 1000') } }],
        5,
      ),
    );
    await up.kubectl('wait', '--for=condition=Ready', 'sandbox/endless', '--timeout=60s');
    const deletedAt = performance.now();
    await up.kubectl('delete', 'pod', 'endless');
    assert.ok(performance.now() - deletedAt < 60_000, 'far from 1000 s');
    assert.ok(evidence('endless') !== undefined, 'it was begun');
    await up.kubectl('delete', 'sandbox', 'endless', '--wait');
  });

  it('a pause keeps the memory, so neither hook is run, nor by the wake', async () => {
    const count = (name: string) => exec(`echo . >> /evidence/${name}`);
    await up.apply(
      sandbox('paused', [{ ...container('main'), lifecycle: { postStart: count('starts'), preStop: count('stops') } }]),
    );
    await up.kubectl('wait', '--for=condition=Ready', 'sandbox/paused', '--timeout=60s');
    await command('pause', 'paused');
    await command('resume', 'paused');
    await up.kubectl('wait', '--for=condition=Ready', 'sandbox/paused', '--timeout=60s');
    assert.equal(evidence('starts'), '.\n');
    assert.equal(evidence('stops'), undefined);
    await up.kubectl('delete', 'sandbox', 'paused', '--wait');
    await until('its end is another thing', () => evidence('stops') === '.\n');
  });

  it('what no kubelet could run is refused by the API, and named', async () => {
    const refused = async (lifecycle: object, problem: RegExp) =>
      await assert.rejects(up.apply(sandbox('wrong', [{ ...container('main'), lifecycle }])), problem);
    await refused({ preStop: {} }, /lifecycle\.preStop: Required value: must specify a handler type/);
    await refused(
      { preStop: { ...exec('true'), sleep: { seconds: 1 } } },
      /preStop\.sleep: Forbidden: may not specify more than 1/,
    );
    await refused({ preStop: { sleep: { seconds: 31 } } }, /less than terminationGracePeriodSeconds \(30\)/);
    await refused({ postStart: { exec: {} } }, /postStart\.exec\.command: Required value/);
  });

  function exec(script: string) {
    return { exec: { command: ['/bin/sh', '-c', script] } };
  }

  function container(name: string, script = 'trap "exit 0" TERM; sleep 1000 & wait') {
    return {
      name,
      image: TOOLBOX,
      command: ['/bin/sh', '-c', script],
      volumeMounts: [{ name: 'evidence', mountPath: '/evidence' }],
    };
  }

  function sandbox(name: string, containers: object[], terminationGracePeriodSeconds = 30) {
    const volumes = [{ name: 'evidence', persistentVolumeClaim: { claimName: 'evidence' } }];
    return {
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      metadata: { name, namespace: 'default' },
      spec: { podTemplate: { spec: { terminationGracePeriodSeconds, containers, volumes } } },
    };
  }

  /** A file that a hook wrote into the claim. */
  function evidence(name: string): string | undefined {
    const volumes = join(stateDirectory, 'engine', 'volumes');
    const [path] = readdirSync(volumes)
      .map((uid) => join(volumes, uid, name))
      .filter((file) => existsSync(file));
    return path === undefined ? undefined : readFileSync(path, 'utf8');
  }

  async function eventsOf(pod: string): Promise<string> {
    const line = '{.type} {.reason} {.message} {.involvedObject.fieldPath}';
    const path = `jsonpath={range .items[*]}${line}{"\\n"}{end}`;
    return await up.kubectl('get', 'events', '--field-selector', `involvedObject.name=${pod}`, '-o', path);
  }

  async function command(...words: string[]): Promise<void> {
    await execute(process.execPath, ['src/cli/main.ts', ...words, '--state-dir', stateDirectory], { cwd: projectRoot });
  }
});
