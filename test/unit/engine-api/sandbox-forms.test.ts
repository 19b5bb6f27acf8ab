import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  type KubernetesObject,
  SANDBOX_FORMS,
  SANDBOXES,
  type Sandbox,
  type SandboxForm,
} from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';
import { type EngineWorld, engineWorld, removeWorld, sandboxOf } from '../controllers/engine-world.ts';

type Loose = KubernetesObject & { spec: Record<string, unknown>; status?: Record<string, unknown> };

describe('the older forms of a Sandbox', () => {
  let world: EngineWorld;
  before(async () => {
    world = await engineWorld();
  });
  after(async () => {
    await world.close();
    removeWorld(world);
  });

  const key = (name: string) => ({ namespace: 'default', name });
  const template = { spec: { containers: [{ name: 'main', image: 'example.test/a' }] } };
  const stored = (name: string) => world.get<Sandbox>(SANDBOXES, name) as Promise<Sandbox>;

  for (const form of SANDBOX_FORMS.slice(1)) {
    const version = `${form.type.group}/${form.type.version}`;
    const templateField = form.type.group === 'sandbox.gke.io' ? 'template' : 'podTemplate';
    const name = form.type.version;
    const create = (more: object = {}) =>
      world.client.create<Loose>(form.type, {
        apiVersion: version,
        kind: 'Sandbox',
        metadata: key(name),
        spec: { [templateField]: template, ...more },
      } as Loose);

    describe(version, () => {
      it("is written and read as such, and is the same object in today's form", async () => {
        const created = await create(form.mode(false));
        assert.equal(created.apiVersion, version);
        assert.equal(form.running(created), false);
        const found = await stored(name);
        assert.equal(found.apiVersion, 'agents.x-k8s.io/v1beta1');
        assert.equal(found.metadata.uid, created.metadata.uid);
        assert.equal(found.spec.operatingMode, 'Suspended');
        assert.equal(found.spec.podTemplate.spec.containers[0]?.image, 'example.test/a');
        assert.deepEqual(Object.keys(found.spec).sort(), ['operatingMode', 'podTemplate', 'shutdownPolicy']);
      });

      it('patches what it means', async () => {
        const patched = await world.client.patch<Loose>(
          form.type,
          key(name),
          { spec: form.mode(true) },
          { type: 'merge' },
        );
        assert.equal(form.running(patched), true);
        assert.equal((await stored(name)).spec.operatingMode, 'Running');
        assert.equal((await stored(name)).metadata.generation, 2);
      });

      it('says of the status what it has words for, and a write loses nothing of the rest', async () => {
        const status = { nodeName: 'local', podIPs: ['10.0.0.1'], conditions: [condition('PodScheduled')] };
        await world.patchStatus(SANDBOXES, name, status);
        const found = await world.client.get<Loose>(form.type, key(name));
        assert.deepEqual(found.status?.podIPs, ['10.0.0.1']);
        if (form.type.version === 'v1alpha1') {
          assert.equal(found.status?.replicas, 1);
          assert.equal('nodeName' in (found.status ?? {}), false);
        }
        found.spec.shutdownPolicy = 'Delete';
        await world.client.update(form.type, found);
        assert.equal((await stored(name)).spec.shutdownPolicy, 'Delete');
        assert.equal(((await stored(name)).status as Loose['spec']).nodeName, 'local');
      });

      it('is applied from the server side, and a conflict names the field in its own words', async () => {
        const [field = ''] = Object.keys(form.mode(true));
        const configuration = { apiVersion: version, kind: 'Sandbox', metadata: key(name), spec: form.mode(false) };
        const apply = (fieldManager: string, force: boolean) =>
          world.client.patch<Loose>(form.type, key(name), configuration, { type: 'apply', fieldManager, force });
        assert.equal(form.running(await apply('first', true)), false);
        configuration.spec = form.mode(true);
        await assert.rejects(apply('second', false), { code: 'Conflict', message: new RegExp(`\\.spec\\.${field}`) });
      });

      it('is listed and watched beside objects written in another form', async () => {
        await world.create<Sandbox>(SANDBOXES, { ...sandboxOf(`other-${name}`) });
        const list = await world.client.list<Loose>(form.type, { namespace: 'default' });
        assert.ok(list.items.some(({ metadata }) => metadata.name === `other-${name}`));
        assert.ok(list.items.every((item) => item.apiVersion === version && templateField in item.spec));
        const seen: string[] = [];
        const stop = new AbortController();
        const watching = watch(form, list.resourceVersion, stop.signal, seen);
        await world.client.delete(SANDBOXES, key(`other-${name}`));
        await until('the deletion is seen', () => seen.includes(`DELETED other-${name} ${version}`));
        stop.abort();
        await watching;
      });

      it('names the field that breaks its own schema', async () => {
        const wrong = form.type.version === 'v1alpha1' ? { replicas: 2 } : { template: { spec: { containers: [] } } };
        await assert.rejects(world.client.patch(form.type, key(name), { spec: wrong }, { type: 'merge' }), {
          code: 'Invalid',
          message: form.type.version === 'v1alpha1' ? /spec\.replicas/ : /spec\.template\.spec\.containers/,
        });
      });

      it('is deleted, finalizers first', async () => {
        await world.client.patch(form.type, key(name), { metadata: { finalizers: ['test/hold'] } }, { type: 'merge' });
        await world.client.delete(form.type, key(name));
        assert.ok((await stored(name)).spec.podTemplate !== undefined, 'it is still stored in its stored form');
        await world.client.patch(form.type, key(name), { metadata: { finalizers: null } }, { type: 'merge' });
        assert.equal(await stored(name), undefined);
      });
    });
  }

  async function watch({ type }: SandboxForm, resourceVersion: string, signal: AbortSignal, seen: string[]) {
    for await (const event of world.client.watch<Loose>(type, { resourceVersion, signal }))
      seen.push(`${event.type} ${event.object.metadata.name} ${event.object.apiVersion}`);
  }

  function condition(type: string) {
    return { type, status: 'True', reason: 'Test', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' };
  }
});
