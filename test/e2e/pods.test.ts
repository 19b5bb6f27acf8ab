import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { engineTagOf } from '../../src/engine/runtime/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { cgroupsOf } from '../support/leaks.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);

describe('pods as people write them, in gVisor', { timeout: 400_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-pods-'));
  let up: RunningUp;

  before(async () => {
    up = await startUp({ directory: projectRoot, stateDirectory });
    await apply([
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: meta('settings'), data: { MODE: 'fast', 'app.ini': 'a=1\n' } },
      { apiVersion: 'v1', kind: 'Secret', metadata: meta('keys'), stringData: { TOKEN: 's3cret', extra: 'x' } },
    ]);
  });
  after(async () => {
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  describe('environment, volumes and security', () => {
    before(async () => {
      await apply([
        sandbox(
          'rich',
          {
            env: [
              { name: 'PLAIN', value: 'one' },
              { name: 'BOTH', value: '$(PLAIN)-$(C_MODE)-$(NOTHING)-$$(PLAIN)' },
              { name: 'FROM_SECRET', valueFrom: { secretKeyRef: { name: 'keys', key: 'TOKEN' } } },
              { name: 'FROM_MAP', valueFrom: { configMapKeyRef: { name: 'settings', key: 'MODE' } } },
              { name: 'ABSENT', valueFrom: { configMapKeyRef: { name: 'nowhere', key: 'x', optional: true } } },
              { name: 'LABEL', valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
              { name: 'NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } },
            ],
            envFrom: [
              { prefix: 'C_', configMapRef: { name: 'settings' } },
              { secretRef: { name: 'keys' } },
              { configMapRef: { name: 'nowhere', optional: true } },
            ],
            workingDir: '/tmp',
            securityContext: {
              runAsUser: 1234,
              runAsGroup: 2345,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ['ALL'] },
            },
            volumeMounts: [
              { name: 'scratch', mountPath: '/workspace' },
              { name: 'settings', mountPath: '/etc/settings' },
              { name: 'settings', mountPath: '/etc/one.ini', subPath: 'app.ini' },
              { name: 'keys', mountPath: '/run/keys' },
              { name: 'about', mountPath: '/etc/about' },
              { name: 'mixed', mountPath: '/etc/mixed' },
              { name: 'data', mountPath: '/data' },
              { name: 'data', mountPath: '/part', subPath: 'deep/er' },
            ],
          },
          {
            securityContext: { fsGroup: 2345, supplementalGroups: [77] },
            volumes: [
              { name: 'scratch', emptyDir: { sizeLimit: '8Mi' } },
              { name: 'settings', configMap: { name: 'settings' } },
              {
                name: 'keys',
                secret: { secretName: 'keys', defaultMode: 0o400, items: [{ key: 'TOKEN', path: 'a/token' }] },
              },
              { name: 'about', downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
              {
                name: 'mixed',
                projected: {
                  sources: [
                    { configMap: { name: 'settings' } },
                    { secret: { name: 'keys', items: [{ key: 'extra', path: 'extra' }] } },
                  ],
                },
              },
            ],
          },
          [
            {
              metadata: { name: 'data' },
              spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
            },
          ],
        ),
      ]);
      await ready('rich');
    });

    const outputs: [what: string, command: string, output: string][] = [
      ['a variable', 'echo $PLAIN', 'one'],
      ['references between variables', 'echo "$BOTH"', 'one-fast-$(NOTHING)-$(PLAIN)'],
      ['a key of a Secret', 'echo $FROM_SECRET', 's3cret'],
      ['a key of a ConfigMap', 'echo $FROM_MAP', 'fast'],
      ['an optional one that is absent', 'printenv ABSENT || echo unset', 'unset'],
      ['fields of the pod', 'echo $LABEL $NAMESPACE', 'rich default'],
      ['all keys, with a prefix', 'echo $C_MODE $TOKEN', 'fast s3cret'],
      ['user, group and supplemental groups', 'id -u; id -g; id -G', '1234\n2345\n2345 77'],
      ['no capabilities', 'grep CapEff /proc/self/status', 'CapEff:\t0000000000000000'],
      ['a root that is read-only', 'touch /opt/x 2>/dev/null; echo $?', '1'],
      [
        'an emptyDir with a bound',
        'dd if=/dev/zero of=/workspace/big bs=1M count=20 2>/dev/null; echo $?; rm /workspace/big',
        '1',
      ],
      ['files of a ConfigMap', 'cat /etc/settings/app.ini /etc/one.ini', 'a=1\na=1'],
      ['they cannot be written', 'echo b > /etc/settings/app.ini 2>/dev/null || echo refused', 'refused'],
      ['a Secret for its group alone', 'cat /run/keys/a/token; stat -c %a /run/keys/a/token', 's3cret440'],
      ['fields as files', 'cat /etc/about/name', 'rich'],
      ['several sources in one directory', 'ls /etc/mixed', 'MODE\napp.ini\nextra'],
      [
        'a claim',
        'echo kept > /data/file && echo part > /part/file && cat /data/file /data/deep/er/file',
        'kept\npart',
      ],
    ];
    for (const [what, command, output] of outputs)
      it(what, async () => assert.equal((await run('rich', command)).trim(), output));

    it('the claim is bound', async () =>
      assert.equal(await up.kubectl('get', 'pvc', 'data-rich', '-o', 'jsonpath={.status.phase}'), 'Bound'));

    it('a pause keeps emptyDir, claim and open files, though the ConfigMap changed meanwhile', async () => {
      await run(
        'rich',
        'echo remembered > /workspace/note; (exec 3</etc/settings/app.ini; sleep 1000) >/dev/null 2>&1 & echo',
      );
      await command('pause', 'rich');
      await up.kubectl(
        'patch',
        'configmap',
        'settings',
        '--type=merge',
        '-p',
        '{"data":{"app.ini":"a=2 and longer\\n"}}',
      );
      await command('resume', 'rich');
      assert.equal(
        (await run('rich', 'cat /workspace/note /data/file; echo $FROM_SECRET')).trim(),
        'remembered\nkept\ns3cret',
      );
    });

    it('a link that a container leaves in a claim leads no mount elsewhere', async () => {
      await run('rich', 'rmdir /part 2>/dev/null; mv /data/deep /data/was && ln -s / /data/deep');
      await up.kubectl('delete', 'pod', 'rich');
      assert.match(await waiting('rich'), /volumeMounts\[7\]\.subPath: "deep"/);
    });

    it("a claim's data goes with its sandbox", async () => {
      const volumes = () => readdirSync(join(stateDirectory, 'engine/volumes')).length;
      assert.equal(volumes(), 1);
      await up.kubectl('delete', 'sandbox', 'rich');
      await until('nothing is left', () => volumes() === 0);
    });
  });

  it('what is not there yet is waited for, and named', async () => {
    await apply([sandbox('early', { envFrom: [{ configMapRef: { name: 'late' } }] })]);
    const message = await waiting('early', 'CreateContainerConfigError');
    assert.match(message, /configmap "late" not found/);
    await apply([{ apiVersion: 'v1', kind: 'ConfigMap', metadata: meta('late'), data: { WHEN: 'now' } }]);
    await ready('early');
    assert.equal((await run('early', 'echo $WHEN')).trim(), 'now');
  });

  describe('limits', () => {
    const groups = () => cgroupsOf(`sandbox-router-${engineTagOf(join(stateDirectory, 'engine'))}`);
    /** The group of a Pod in one hierarchy; where there is only one, that. */
    const groupOf = async (name: string, hierarchy: string) => {
      const status = await up.kubectl('get', 'pod', name, '-o', 'jsonpath={.status.containerStatuses[0].containerID}');
      const found = groups().filter((path) => path.endsWith(`/${status.split('//')[1]}`));
      return found.find((path) => path.includes(`/${hierarchy}`)) ?? found[0] ?? '';
    };
    const condition = async (name: string) =>
      await up.kubectl(
        'get',
        'pod',
        name,
        '-o',
        'jsonpath={.status.conditions[?(@.type=="sandbox-router/LimitsEnforced")].status}',
      );
    /** Keeps so many megabytes in memory, and then this. */
    const keeping = (megabytes: number, then: string) => [
      'python3',
      '-c',
      `import time\nkept = b'x' * (${megabytes} << 20)\n${then}`,
    ];
    const limits = { memory: '128Mi', cpu: '500m' };
    let enforced = false;

    before(async () => {
      await apply([
        sandbox('bounded', { resources: { limits } }),
        sandbox('free', {}),
        sandbox('greedy', { command: keeping(600, 'time.sleep(1000)'), ports: [], resources: { limits } }),
      ]);
      await ready('bounded');
      enforced = (await condition('bounded')) === 'True';
    });

    it('are kept for a sandbox with all that runs in it, or said not to be; others have no group', async (context) => {
      assert.match(await condition('bounded'), /^(True|False)$/);
      await ready('free');
      assert.equal(await condition('free'), '');
      if (!enforced) return context.skip('no cgroups here');
      const group = await groupOf('bounded', 'memory');
      const processes = readFileSync(join(group, 'cgroup.procs'), 'utf8').trim().split('\n');
      const commands = processes.map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
      assert.ok(commands.some((each) => each.includes('runsc-sandbox')) && commands.length > 1, commands.join('\n'));
      assert.equal(await groupOf('free', 'memory'), '');
    });

    it('who takes more memory is killed, which its status says, and started again', async (context) => {
      if (!enforced) return context.skip('no cgroups here');
      const path = '{.status.containerStatuses[0].lastState.terminated}';
      const end = await until(
        'it was killed',
        async () =>
          (await up.kubectl('get', 'pod', 'greedy', '--ignore-not-found', '-o', `jsonpath=${path}`)) || undefined,
      );
      const { reason, exitCode } = JSON.parse(end) as { reason: string; exitCode: number };
      assert.deepEqual([reason, exitCode], ['OOMKilled', 137]);
      await up.kubectl('delete', 'sandbox', 'greedy', '--wait');
      assert.equal((await run('bounded', 'echo there')).trim(), 'there');
    });

    it('who wants more CPU is slowed down', async (context) => {
      if (!enforced) return context.skip('no cgroups here');
      const burn = 'python3 -c "import time; end = time.time() + 1.5\nwhile time.time() < end: pass"';
      await run('bounded', burn);
      const throttled = readFileSync(join(await groupOf('bounded', 'cpu'), 'cpu.stat'), 'utf8');
      assert.ok(Number(/^nr_throttled (\d+)/m.exec(throttled)?.[1]) > 0, throttled);
    });

    it('hold after a pause, also of one that is as large as it may be, and nothing stays of them', async (context) => {
      if (!enforced) return context.skip('no cgroups here');
      await run(
        'bounded',
        `(${keeping(110, 'time.sleep(1000)')
          .map((word) => `'${word}'`)
          .join(' ')} &) ; sleep 1`,
      );
      await command('pause', 'bounded');
      assert.equal((await run('bounded', 'pgrep -c python3 || true')).trim() === '0', false);
      await ready('bounded');
      const file = existsSync(join(await groupOf('bounded', 'memory'), 'memory.max'))
        ? 'memory.max'
        : 'memory.limit_in_bytes';
      assert.equal(
        readFileSync(join(await groupOf('bounded', 'memory'), file), 'utf8').trim(),
        String((128 + 64) << 20),
      );
      await up.kubectl('delete', 'sandbox', 'bounded', 'free', '--wait');
      await until('their groups are gone', () => groups().every((path) => /sandbox-router-[0-9a-f]{4}$/.test(path)));
    });
  });

  describe('refuses, and names the field', () => {
    const configMap = (items: object[]) => ({ volumes: [{ name: 'v', configMap: { name: 'settings', items } }] });
    const mount = (more: object = {}) => ({ volumeMounts: [{ name: 'v', mountPath: '/v', ...more }] });
    const cases: [name: string, container: object, spec: object, message: RegExp][] = [
      ['missing-key', mount(), configMap([{ key: 'NO', path: 'x' }]), /non-existent key "NO"/],
      ['network-disk', mount(), { volumes: [{ name: 'v', nfs: { server: 'x' } }] }, /spec\.volumes\[0\].*nfs/],
      [
        'no-claim',
        mount(),
        { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'no' } }] },
        /persistentvolumeclaim "no" not found/,
      ],
      ['root', { securityContext: { runAsNonRoot: true } }, {}, /runAsNonRoot/],
      [
        'capability',
        { securityContext: { capabilities: { add: ['net admin'] } } },
        {},
        /capabilities\.add: "net admin"/,
      ],
    ];
    for (const [name, container, spec, message] of cases)
      it(name, async () => {
        await apply([sandbox(name, container, spec)]);
        assert.match(await waiting(name), message);
        await up.kubectl('delete', 'sandbox', name);
      });
  });

  function meta(name: string) {
    return { name, namespace: 'default' };
  }

  function sandbox(name: string, container: object, spec: object = {}, volumeClaimTemplates: object[] = []) {
    return {
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      metadata: meta(name),
      spec: {
        ...(volumeClaimTemplates.length === 0 ? {} : { volumeClaimTemplates }),
        podTemplate: {
          metadata: { labels: { app: name } },
          spec: {
            terminationGracePeriodSeconds: 0,
            ...spec,
            containers: [
              { name: 'agent', image: 'sandbox-router.local/toolbox', ports: [{ containerPort: 8888 }], ...container },
            ],
          },
        },
      },
    };
  }

  async function apply(objects: object[]): Promise<void> {
    const path = join(stateDirectory, 'manifest.json');
    writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
    await up.kubectl('apply', '--validate=false', '-f', path);
  }

  async function ready(name: string): Promise<void> {
    await up.kubectl('wait', '--for=condition=Ready', `sandbox/${name}`, '--timeout=60s');
  }

  /** Message with which a container waits to be made. */
  async function waiting(name: string, reason?: string): Promise<string> {
    return await until(`${name} waits`, async () => {
      const path =
        '{.status.containerStatuses[0].state.waiting.reason}|{.status.containerStatuses[0].state.waiting.message}';
      const text = await up.kubectl('get', 'pod', name, '--ignore-not-found', '-o', `jsonpath=${path}`);
      const [found = '', message = ''] = text.split('|');
      return message !== '' && (reason === undefined || found === reason) ? message : undefined;
    });
  }

  async function run(name: string, text: string): Promise<string> {
    const answer = await up.request(`/${name}/execute`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ command: text }),
    });
    const { stdout, stderr } = (await answer.json()) as { stdout: string; stderr: string };
    assert.equal(answer.status, 200, stderr);
    return stdout;
  }

  async function command(...words: string[]): Promise<void> {
    await execute(process.execPath, ['src/cli/main.ts', ...words, '--state-dir', stateDirectory], { cwd: projectRoot });
  }
});
