import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { projectRoot } from '../support/checkout.ts';
import { busyboxLayer, imageOf, tarOf, writeLayout } from '../support/oci-image.ts';
import { startRegistry, type TestRegistry } from '../support/oci-registry.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);

describe('pods of OCI images, in gVisor', { timeout: 400_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-pod-images-'));
  const base = busyboxLayer();
  const page = (text: string) => tarOf([{ path: 'www/index.html', content: text }]);
  const server = { Entrypoint: ['/bin/httpd', '-f', '-p', '8888'], Cmd: ['-h', '/www'], Env: ['GREETING=hello'] };
  let up: RunningUp;
  let registry: TestRegistry;
  let guarded: TestRegistry;

  before(async () => {
    registry = await startRegistry();
    guarded = await startRegistry({ kind: 'bearer', username: 'puller', password: 'pass' });
    registry.push(
      'team/web',
      'v1',
      imageOf([base, page('version one')], { ...server, WorkingDir: '/www', User: 'app' }),
    );
    guarded.push('private/web', 'v1', imageOf([base, page('private')], server));
    up = await startUp({ directory: projectRoot, stateDirectory });
  });
  after(async () => {
    await up?.interrupt();
    await registry.close();
    await guarded.close();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  describe('from a registry', () => {
    const sandboxName = 'web';
    before(async () => {
      await up.apply(sandbox(sandboxName, `${registry.host}/team/web:v1`));
      await ready(sandboxName);
    });

    it('the router reaches what the image starts', async () => {
      const answer = await up.request(`/${sandboxName}/`);
      assert.equal(await answer.text(), 'version one');
    });

    it("the image's user, directory and environment are the container's", async () => {
      assert.equal(
        await run(sandboxName, 'id -u; id -g; id -G; pwd; echo $GREETING'),
        '4321\n4322\n4322 4323\n/www\nhello\n',
      );
    });

    it('its names resolve as in every pod', async () => {
      assert.match(await run(sandboxName, 'cat /etc/hosts'), new RegExp(`\\t${sandboxName}\\n`));
      assert.match(await run(sandboxName, 'cat /etc/resolv.conf'), /search default\.svc\.cluster\.local/);
    });

    it('the status has the digest, and events tell of the pull', async () => {
      const imageId = await up.kubectl(
        'get',
        'pod',
        sandboxName,
        '-o',
        'jsonpath={.status.containerStatuses[0].imageID}',
      );
      assert.match(imageId, new RegExp(`^${registry.host}/team/web@sha256:[0-9a-f]{64}$`));
      const told = await events(sandboxName);
      assert.match(told, /Normal Pulling Pulling image "127\.0\.0\.1:\d+\/team\/web:v1"/);
      assert.match(told, /Normal Pulled Successfully pulled image ".*" in [\d.]+s\. Image size: \d+ bytes\./);
    });

    it('a paused one goes on with its own files, also the ones it wrote, though its tag is another image by now', async () => {
      await run(sandboxName, 'echo written > /tmp/note');
      await command('pause', sandboxName);
      registry.push('team/web', 'v1', imageOf([base, page('version two')], server));
      const asked = registry.served.length;
      const answer = await up.request(`/${sandboxName}/`);
      assert.equal(await answer.text(), 'version one');
      assert.equal(await run(sandboxName, 'cat /tmp/note'), 'written\n');
      assert.equal(registry.served.length, asked, 'a wake asks no registry');
    });

    it('sandboxes of one image share its files and see none of what others write', async () => {
      await up.apply(sandbox('second', `${registry.host}/team/web:v1`));
      await ready('second');
      assert.equal(await run('second', 'cat /tmp/note 2>/dev/null || echo nothing'), 'nothing\n');
      assert.match(await events('second'), /Normal Pulled Container image ".*" already present on machine/);
      await up.kubectl('delete', 'sandbox', 'second');
    });
  });

  it('from a layout, fetched anew for each start where the policy says so', async () => {
    const layout = join(stateDirectory, 'images/team/web');
    writeLayout(layout, 'latest', imageOf([base, page('layout one')], server));
    await up.apply(sandbox('layout', 'oci:team/web'));
    await ready('layout');
    assert.equal(await (await up.request('/layout/')).text(), 'layout one');
    writeLayout(layout, 'latest', imageOf([base, page('layout two')], server));
    await up.kubectl('delete', 'pod', 'layout');
    await until('the new image is served', async () => {
      const answer = await up.request('/layout/');
      return (await answer.text()) === 'layout two';
    });
    await up.kubectl('delete', 'sandbox', 'layout');
  });

  it('a private one waits for its Secret, with the words of a kubelet', async () => {
    const secrets = { imagePullSecrets: [{ name: 'registry-key' }] };
    await up.apply(sandbox('private', `${guarded.host}/private/web:v1`, {}, secrets));
    const failure = await waiting('private', 'ErrImagePull');
    assert.match(failure, /^Failed to pull image ".*\/private\/web:v1": .*(authentication required|unauthorized)/i);
    assert.match(
      await waiting('private', 'ImagePullBackOff'),
      /^Back-off pulling image ".*": ErrImagePull: Failed to pull/,
    );
    const told = await events('private');
    assert.match(told, /Warning FailedToRetrieveImagePullSecret .*registry-key/);
    assert.match(told, /Warning Failed Error: ErrImagePull/);
    assert.match(told, /Normal BackOff Back-off pulling image/);
    const auths = { [guarded.host]: { username: 'puller', password: 'pass' } };
    await up.kubectl(
      'create',
      'secret',
      'generic',
      'registry-key',
      '--type=kubernetes.io/dockerconfigjson',
      `--from-literal=.dockerconfigjson=${JSON.stringify({ auths })}`,
    );
    await ready('private');
    assert.equal(await (await up.request('/private/')).text(), 'private');
    await up.kubectl('delete', 'sandbox', 'private');
  });

  it('a reference that is none, and one that is not to be pulled, say so', async () => {
    await assert.rejects(
      up.apply(sandbox('wrong', '../../etc/passwd')),
      /image: Invalid value.*must be an image reference/s,
    );
    await up.apply(sandbox('never', 'registry.example.com/app', { imagePullPolicy: 'Never' }));
    assert.match(
      await waiting('never', 'ErrImageNeverPull'),
      /"registry\.example\.com\/app" is not present with pull policy of Never/,
    );
    await up.kubectl('delete', 'sandbox', 'never');
  });

  it('a pod can be deleted while its image is pulled', async () => {
    const { release } = registry.stall();
    await up.apply(sandbox('stalled', `${registry.host}/team/web:other`));
    await until('it is pulled', async () => (await events('stalled')).includes('Pulling'));
    await up.kubectl('delete', 'sandbox', 'stalled', '--wait', '--timeout=20s');
    await until(
      'the pod is gone',
      async () => (await up.kubectl('get', 'pod', 'stalled', '--ignore-not-found')) === '',
    );
    release();
  });

  it('a killed engine leaves nothing half pulled, and the next one pulls', async () => {
    const { release } = registry.stall();
    registry.push('team/late', 'v1', imageOf([base, page('late')], server));
    await up.apply(sandbox('late', `${registry.host}/team/late:v1`));
    await until('it is pulled', async () => (await events('late')).includes('Pulling'));
    await up.kill();
    release();
    up = await startUp({ directory: projectRoot, stateDirectory });
    await ready('late');
    assert.equal(await (await up.request('/late/')).text(), 'late');
  });

  it('a cache that has too much lets go of what no sandbox uses, running or paused, and the node tells of it', async () => {
    registry.push('team/gone', 'v1', imageOf([base, page('gone')], server));
    await up.apply(sandbox('gone', `${registry.host}/team/gone:v1`));
    await ready('gone');
    await up.kubectl('delete', 'sandbox', 'gone', '--wait');
    await command('pause', 'web');
    await up.kill();
    const roots = join(stateDirectory, 'engine/images/roots');
    const longAgo = Date.now() / 1000 - 600;
    for (const root of readdirSync(roots)) utimesSync(join(roots, root, 'image.json'), longAgo, longAgo);
    const bounded = ['npm', 'start', '--', '--image-cache-bytes', '0'];
    up = await startUp({ directory: projectRoot, stateDirectory, command: bounded });
    const messages = ['-o', 'jsonpath={range .items[*]}{.message}{"\\n"}{end}'];
    const removed = await until('the node tells of it', async () => {
      const ofNode = ['--field-selector', 'involvedObject.kind=Node,reason=ImageRemoved'];
      const text = await up.kubectl('get', 'events', ...ofNode, ...messages);
      return text.includes('team/gone') && text;
    });
    for (const name of ['web', 'late']) assert.ok(!removed.includes(`${registry.host}/team/${name}@`), removed);
    assert.equal(await (await up.request('/late/')).text(), 'late');
    assert.equal((await up.request('/web/')).status, 200);
    await up.apply(sandbox('gone', `${registry.host}/team/gone:v1`));
    await ready('gone');
  });

  function sandbox(name: string, image: string, container: object = {}, spec: object = {}) {
    return {
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      metadata: { name, namespace: 'default' },
      spec: {
        podTemplate: {
          spec: {
            terminationGracePeriodSeconds: 0,
            ...spec,
            containers: [{ name: 'web', image, ports: [{ containerPort: 8888 }], ...container }],
          },
        },
      },
    };
  }

  async function ready(name: string): Promise<void> {
    await up
      .kubectl('wait', '--for=condition=Ready', `sandbox/${name}`, '--timeout=60s')
      .catch(async (error: Error) => {
        throw new Error(`${error.message}\n${await up.kubectl('describe', 'pod', name)}`);
      });
  }

  async function waiting(name: string, reason: string): Promise<string> {
    return await until(`${name} waits with ${reason}`, async () => {
      const path =
        '{.status.containerStatuses[0].state.waiting.reason}|{.status.containerStatuses[0].state.waiting.message}';
      const text = await up.kubectl('get', 'pod', name, '--ignore-not-found', '-o', `jsonpath=${path}`);
      const [found = '', ...message] = text.split('|');
      return found === reason ? message.join('|') : undefined;
    });
  }

  async function events(pod: string): Promise<string> {
    const path = '{range .items[*]}{.type} {.reason} {.message}{"\\n"}{end}';
    return await up.kubectl(
      'get',
      'events',
      `--field-selector=involvedObject.name=${pod},involvedObject.kind=Pod`,
      '-o',
      `jsonpath=${path}`,
    );
  }

  async function run(pod: string, script: string): Promise<string> {
    return await up.kubectl('exec', pod, '--', '/bin/sh', '-c', script);
  }

  async function command(...words: string[]): Promise<void> {
    await execute(process.execPath, ['src/cli/main.ts', ...words, '--state-dir', stateDirectory], { cwd: projectRoot });
  }
});
