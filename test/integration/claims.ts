import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import {
  EVENTS,
  type KubernetesObject,
  nameHash,
  PODS,
  type Pod,
  SANDBOX_CLAIMS,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
  type SandboxTemplate,
  type SandboxWarmPool,
} from '../../src/kubernetes/index.ts';
import { until } from '../support/until.ts';
import { type Objects, objectsIn, readyOf, SLEEPER } from './claims-objects.ts';
import type { ClaimsWorld } from './claims-world.ts';

const LABEL = 'agents.x-k8s.io';

/** What claims, pools and templates do (contract sections 2.7 and 2.8), whatever API they are in. `skip` says why it can't run here. */
export function claims(title: string, start: () => Promise<ClaimsWorld>, skip: string | false): void {
  describe(`claims in ${title}`, { skip, timeout: 300_000 }, () => {
    let world: ClaimsWorld;
    let objects: Objects;

    before(async () => {
      world = await start();
      objects = objectsIn(world.client);
    });
    after(() => world?.close());
    afterEach(async () => {
      // The machine is small: what a test left runs no longer.
      for (const type of [SANDBOX_CLAIMS, SANDBOX_WARM_POOLS, SANDBOX_TEMPLATES])
        for (const { metadata } of (await world.client.list(type, { namespace: 'default' })).items)
          await world.client.delete(type, metadata).catch(() => {});
      if (!world.collectsGarbage)
        for (const type of [SANDBOXES, PODS])
          for (const { metadata } of (await world.client.list(type, { namespace: 'default' })).items)
            await world.client.delete(type, metadata, { gracePeriodSeconds: 0 }).catch(() => {});
      await until('all sandboxes are gone', async () => {
        const pods = await world.client.list(PODS, { namespace: 'default' });
        return pods.items.length === 0 && (await world.client.list(SANDBOXES, {})).items.length === 0;
      });
      assert.deepEqual(world.failures.splice(0), []);
    });

    const sandboxOf = async (claim: SandboxClaim): Promise<Sandbox> =>
      (await objects.get<Sandbox>(SANDBOXES, claim.status?.sandbox?.name ?? '')) as Sandbox;
    const podOf = async (name: string): Promise<Pod> => (await objects.get<Pod>(PODS, name)) as Pod;
    const eventsOf = async ({ metadata }: KubernetesObject) => {
      const { items } = await world.client.list<KubernetesObject & { reason: string; involvedObject: { uid: string } }>(
        EVENTS,
        { namespace: 'default' },
      );
      return items.filter(({ involvedObject }) => involvedObject.uid === metadata.uid).map(({ reason }) => reason);
    };

    it('makes the members of a pool as the contract has them', async () => {
      const [member] = await objects.filledPool('plain', 2);
      const template = await until('the template is labelled', async () => {
        const found = await objects.get<SandboxTemplate>(SANDBOX_TEMPLATES, 'plain');
        return found?.metadata.labels?.[`${LABEL}/sandbox-template-ref-hash`] === nameHash('plain') && found;
      });
      assert.match(member?.metadata.name ?? '', /^plain-[a-z0-9]{5}$/);
      const labels = member?.metadata.labels ?? {};
      assert.equal(labels[`${LABEL}/warm-pool-sandbox`], nameHash('plain'));
      assert.equal(labels[`${LABEL}/sandbox-template-ref-hash`], nameHash('plain'));
      assert.equal(labels[`${LABEL}/launch-type`], 'warm');
      assert.equal(labels[`${LABEL}/created-by`], 'controller');
      assert.match(labels[`${LABEL}/sandbox-template-hash`] ?? '', /^[0-9a-f]{8}$/);
      assert.match(labels[`${LABEL}/sandbox-pod-template-hash`] ?? '', /^[0-9a-f]{8}$/);
      assert.equal(member?.metadata.annotations?.[`${LABEL}/sandbox-template-ref`], 'plain');
      const { podTemplate } = member?.spec ?? { podTemplate: SLEEPER };
      assert.equal(podTemplate.metadata?.annotations?.['cluster-autoscaler.kubernetes.io/safe-to-evict'], 'true');
      assert.equal(podTemplate.spec.automountServiceAccountToken, false);
      assert.equal(podTemplate.spec.dnsPolicy, 'None');
      const pod = await podOf(member?.metadata.name ?? '');
      assert.equal(pod.metadata.labels?.[`${LABEL}/warm-pool-sandbox`], nameHash('plain'));
      const pool = await until('the pool says so', async () => {
        const found = await objects.get<SandboxWarmPool>(SANDBOX_WARM_POOLS, 'plain');
        return found?.status?.readyReplicas === 2 && found;
      });
      assert.deepEqual(pool.status, {
        replicas: 2,
        readyReplicas: 2,
        selector: `${LABEL}/warm-pool-sandbox=${nameHash('plain')}`,
        observedGeneration: pool.metadata.generation,
      });
      assert.ok(template);
    });

    it('gives a claim a sandbox of the pool, without restarting anything, and refills', async () => {
      const members = await objects.filledPool('warm', 2, {
        podTemplate: { ...SLEEPER, metadata: { labels: { role: 'agent' }, annotations: { note: 'kept' } } },
      });
      const pods = new Map(
        await Promise.all(
          members.map(async ({ metadata: { name } }) => [name, (await podOf(name)).metadata.uid] as const),
        ),
      );
      await objects.claim(
        'taken',
        'warm',
        { additionalPodMetadata: { labels: { 'sandbox.users.io/session': 'one' }, annotations: { mine: 'too' } } },
        {
          labels: { [`${LABEL}/created-by`]: 'python-client' },
          annotations: { 'opentelemetry.io/trace-context': '{}' },
        },
      );
      const claim = await objects.ready('taken');
      const name = claim.status?.sandbox?.name ?? '';
      assert.ok(pods.has(name), `${name} is a member of the pool`);
      const sandbox = await sandboxOf(claim);
      assert.deepEqual(claim.status?.sandbox?.podIPs, sandbox.status?.podIPs);
      assert.equal(
        claim.status?.conditions?.find(({ type }) => type === 'Ready')?.observedGeneration,
        claim.metadata.generation,
      );
      assert.equal(claim.metadata.annotations?.[`${LABEL}/sandbox-name`], name);
      const { labels = {}, annotations = {}, ownerReferences = [] } = sandbox.metadata;
      assert.deepEqual(labels, {
        [`${LABEL}/launch-type`]: 'warm',
        [`${LABEL}/claim-uid`]: claim.metadata.uid,
        [`${LABEL}/created-by`]: 'python-client',
        [`${LABEL}/sandbox-template-ref-hash`]: nameHash('warm'),
      });
      assert.equal(annotations[`${LABEL}/pod-name`], name);
      assert.equal(annotations['opentelemetry.io/trace-context'], '{}');
      assert.deepEqual(
        ownerReferences.map(({ kind, uid, controller }) => ({ kind, uid, controller })),
        [{ kind: 'SandboxClaim', uid: claim.metadata.uid, controller: true }],
      );
      assert.deepEqual(sandbox.spec.podTemplate.metadata, {
        labels: {
          role: 'agent',
          [`${LABEL}/claim-uid`]: claim.metadata.uid,
          [`${LABEL}/created-by`]: 'python-client',
          [`${LABEL}/sandbox-template-ref-hash`]: nameHash('warm'),
          'sandbox.users.io/session': 'one',
        },
        annotations: { note: 'kept', mine: 'too' },
      });
      const pod = await until('the Pod left the pool', async () => {
        const found = await podOf(name);
        return found.metadata.labels?.[`${LABEL}/warm-pool-sandbox`] === undefined && found;
      });
      assert.equal(pod.metadata.uid, pods.get(name));
      assert.equal(pod.metadata.labels?.['sandbox.users.io/session'], 'one');
      assert.equal(pod.metadata.labels?.role, 'agent');
      assert.ok((pod.status?.containerStatuses ?? []).every(({ restartCount }) => restartCount === 0));
      await until('the pool is full again', async () => (await objects.members('warm')).length === 2);
      await until('the adoption is told', async () => (await eventsOf(claim)).includes('SandboxAdopted'));
      const timed = await until('times are noted', async () => {
        const found = await objects.get<SandboxClaim>(SANDBOX_CLAIMS, 'taken');
        return found?.metadata.annotations?.[`${LABEL}/claim-first-ready-at`] !== undefined && found;
      });
      const [seen = '', ready = ''] = ['controller-first-observed-at', 'claim-first-ready-at'].map(
        (key) => timed.metadata.annotations?.[`${LABEL}/${key}`],
      );
      assert.ok(Date.parse(seen) <= Date.parse(ready));
    });

    it('changes and removes what the claim adds to its Pod, while it runs', async () => {
      await objects.filledPool('meta', 1);
      await objects.claim('meta', 'meta', {
        additionalPodMetadata: { annotations: { one: '1', 'podsnapshot.gke.io/ps-name': 'x' } },
      });
      const claim = await objects.ready('meta');
      const annotations = { one: '2', 'podsnapshot.gke.io/ps-name': null };
      await objects.patch(SANDBOX_CLAIMS, 'meta', { spec: { additionalPodMetadata: { annotations } } });
      const { uid } = (await podOf(claim.status?.sandbox?.name ?? '')).metadata;
      await until('the Pod shows it', async () => {
        const pod = await podOf(claim.status?.sandbox?.name ?? '');
        assert.equal(pod.metadata.uid, uid);
        const found = pod.metadata.annotations ?? {};
        return found.one === '2' && found['podsnapshot.gke.io/ps-name'] === undefined;
      });
    });

    it('starts cold, under the name of the claim, when the pool is empty', async () => {
      await objects.template('cold');
      await objects.pool('cold', 'cold', { replicas: 0 });
      await objects.claim('cold', 'cold');
      const claim = await objects.ready('cold');
      assert.equal(claim.status?.sandbox?.name, 'cold');
      const { metadata } = await sandboxOf(claim);
      assert.equal(metadata.labels?.[`${LABEL}/launch-type`], 'cold');
      assert.equal(metadata.labels?.[`${LABEL}/claim-uid`], claim.metadata.uid);
      assert.equal(metadata.ownerReferences?.[0]?.uid, claim.metadata.uid);
      await until('it is told', async () => (await eventsOf(claim)).includes('SandboxProvisioned'));
    });

    it('starts cold for variables and volumes, as the template allows them', async () => {
      const container = { ...SLEEPER.spec.containers[0], name: 'main', image: 'sandbox-router.local/toolbox' };
      const [member] = await objects.filledPool('injected', 1, {
        podTemplate: { spec: { ...SLEEPER.spec, containers: [{ ...container, env: [{ name: 'A', value: 'old' }] }] } },
        envVarsInjectionPolicy: 'Overrides',
      });
      await objects.claim('injected', 'injected', {
        env: [
          { name: 'A', value: 'new' },
          { name: 'B', value: 'b', containerName: 'main' },
        ],
      });
      const claim = await objects.ready('injected');
      assert.equal(claim.status?.sandbox?.name, 'injected');
      assert.deepEqual((await sandboxOf(claim)).spec.podTemplate.spec.containers[0]?.env, [
        { name: 'A', value: 'new' },
        { name: 'B', value: 'b' },
      ]);
      assert.ok((await objects.members('injected')).some(({ metadata }) => metadata.uid === member?.metadata.uid));
    });

    const env = [{ name: 'A', value: 'b' }];
    const volumeClaimTemplates = [
      {
        metadata: { name: 'data' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    ];
    const containers = SLEEPER.spec.containers;
    const withContainer = (more: object) => ({
      podTemplate: {
        spec: { ...SLEEPER.spec, containers: containers.map((container) => ({ ...container, ...more })) },
      },
    });
    const metadata = (labels: Record<string, string>, annotations: Record<string, string> = {}) => ({
      additionalPodMetadata: { labels, annotations },
    });
    const refused: [why: string, reason: string, template: object, claim: Partial<SandboxClaim['spec']>][] = [
      ['variables that the template does not allow', 'EnvVarsInjectionRejected', {}, { env }],
      [
        'variables beside envFrom',
        'EnvVarsInjectionRejected',
        {
          ...withContainer({ envFrom: [{ configMapRef: { name: 'x', optional: true } }] }),
          envVarsInjectionPolicy: 'Allowed',
        },
        { env },
      ],
      [
        'variables that would override',
        'ReconcilerError',
        { ...withContainer({ env: [{ name: 'A', value: 'a' }] }), envVarsInjectionPolicy: 'Allowed' },
        { env },
      ],
      [
        'variables of an unknown container',
        'ReconcilerError',
        { envVarsInjectionPolicy: 'Allowed' },
        { env: [{ name: 'A', value: 'b', containerName: 'other' }] },
      ],
      ['volumes that the template does not allow', 'VolumeClaimTemplatesError', {}, { volumeClaimTemplates }],
      [
        'volumes that would override',
        'VolumeClaimTemplatesError',
        { volumeClaimTemplatesPolicy: 'Allowed', volumeClaimTemplates },
        { volumeClaimTemplates },
      ],
      ['labels without a domain', 'InvalidMetadata', {}, metadata({ session: 'x' })],
      ['labels of a foreign domain', 'InvalidMetadata', {}, metadata({ 'example.com/session': 'x' })],
      ['the label of a router', 'InvalidMetadata', {}, metadata({ app: 'sandbox-router' })],
      ['annotations of the system', 'InvalidMetadata', {}, metadata({}, { 'agents.x-k8s.io/pod-name': 'x' })],
      [
        'values other than the template has',
        'InvalidMetadata',
        { podTemplate: { ...SLEEPER, metadata: { annotations: { note: 'a' } } } },
        metadata({}, { note: 'b' }),
      ],
    ];
    for (const [index, [why, reason, template, claim]] of refused.entries())
      it(`refuses ${why}: ${reason}`, async () => {
        const name = `refused-${index}`;
        await objects.template(name, template);
        await objects.pool(name, name, { replicas: 0 });
        await objects.claim(name, name, claim);
        const refusedClaim = await objects.ready(name, reason);
        assert.equal(readyOf(refusedClaim)?.status, 'False');
        assert.equal(refusedClaim.status?.sandbox, undefined);
        assert.equal((await world.client.list(SANDBOXES, {})).items.length, 0);
      });

    it('serves a refused claim once the template allows it', async () => {
      await objects.template('strict');
      await objects.pool('strict', 'strict', { replicas: 0 });
      await objects.claim('strict', 'strict', { env });
      await objects.ready('strict', 'EnvVarsInjectionRejected');
      await objects.patch(SANDBOX_TEMPLATES, 'strict', { spec: { envVarsInjectionPolicy: 'Allowed' } });
      await objects.ready('strict');
    });

    it('waits for a pool and a template that are not there yet', async () => {
      await objects.claim('early', 'later');
      await objects.ready('early', 'WarmPoolNotFound');
      await objects.pool('later', 'later', { replicas: 0 });
      await objects.ready('early', 'TemplateNotFound');
      await objects.template('later');
      await objects.ready('early');
    });

    it('leaves a sandbox alone that has the name of a claim but is not its own', async () => {
      await objects.template('foreign');
      await objects.pool('foreign', 'foreign', { replicas: 0 });
      const spec = { podTemplate: SLEEPER };
      const sandbox = {
        apiVersion: 'agents.x-k8s.io/v1beta1',
        kind: 'Sandbox',
        metadata: { name: 'foreign', namespace: 'default' },
        spec,
      };
      await world.client.create<Sandbox>(SANDBOXES, sandbox);
      await until('it has its Pod', () => world.client.get(PODS, sandbox.metadata).catch(() => undefined));
      await objects.claim('foreign', 'foreign');
      await objects.ready('foreign', 'ReconcilerError');
      await world.client.delete(SANDBOXES, sandbox.metadata);
      if (!world.collectsGarbage) await world.client.delete(PODS, sandbox.metadata, { gracePeriodSeconds: 0 });
      await objects.ready('foreign');
      // Where nothing collects garbage, the new Sandbox may meet the Pod of the old one before the test has deleted it.
      const metTheOld = (failure: string) => !world.collectsGarbage && failure.includes('is owned by Sandbox/foreign');
      world.failures.splice(0, Number.POSITIVE_INFINITY, ...world.failures.filter((failure) => !metTheOld(failure)));
    });

    it('gives no sandbox to two of fifty claims that come at once', async () => {
      const members = await objects.filledPool('crowd', 20);
      const names = Array.from({ length: 50 }, (_, index) => `crowd-claim-${index}`);
      await Promise.all(names.map((name) => objects.claim(name, 'crowd')));
      const served = await Promise.all(names.map((name) => objects.ready(name)));
      const sandboxes = served.map(({ status }) => status?.sandbox?.name ?? '');
      assert.equal(new Set(sandboxes).size, 50);
      const warm = members.filter(({ metadata: { name } }) => sandboxes.includes(name));
      assert.equal(warm.length, 20, 'everything that waited was taken');
      for (const claim of served) {
        const { metadata: owned } = await sandboxOf(claim);
        assert.equal(owned.labels?.[`${LABEL}/claim-uid`], claim.metadata.uid);
        assert.equal(owned.ownerReferences?.[0]?.uid, claim.metadata.uid);
      }
      await until('the pool is full again', async () => (await objects.members('crowd')).length === 20, 60_000);
    });

    it('scales by the scale subresource, both ways', async () => {
      const [oldest] = await objects.filledPool('scaled', 1);
      const scale = (replicas: number) =>
        world.client.patch(
          SANDBOX_WARM_POOLS,
          { namespace: 'default', name: 'scaled' },
          { spec: { replicas } },
          { type: 'merge', subresource: 'scale' },
        );
      const ready = (count: number) =>
        until(`${count} are ready`, async () => {
          const { status } = (await objects.get<SandboxWarmPool>(SANDBOX_WARM_POOLS, 'scaled')) ?? {};
          return status?.readyReplicas === count && status.replicas === count;
        });
      // Creation times have seconds: the first member is to be the oldest beyond doubt.
      await new Promise((resolve) => setTimeout(resolve, 1100));
      await scale(4);
      await ready(4);
      await scale(1);
      await ready(1);
      const left = await objects.members('scaled');
      assert.deepEqual(
        left.map(({ metadata: { name } }) => name),
        [oldest?.metadata.name],
      );
    });

    for (const type of ['OnReplenish', 'Recreate'] as const)
      it(`${type === 'Recreate' ? 'replaces' : 'keeps'} members of an older template with ${type}`, async () => {
        const name = `update-${type.toLowerCase()}`;
        const before = await objects.filledPool(name, 2, {}, { updateStrategy: { type } });
        const changed = withContainer({ env: [{ name: 'REVISION', value: '2' }] });
        await objects.patch(SANDBOX_TEMPLATES, name, { spec: changed });
        const uids = before.map(({ metadata: { uid } }) => uid);
        if (type === 'Recreate') {
          const fresh = await until('all members are new', async () => {
            const found = await objects.members(name);
            return found.length === 2 && found.every(({ metadata: { uid } }) => !uids.includes(uid)) && found;
          });
          for (const { spec } of fresh)
            assert.deepEqual(spec.podTemplate.spec.containers[0]?.env, [{ name: 'REVISION', value: '2' }]);
        } else {
          await objects.patch(SANDBOX_WARM_POOLS, name, { spec: { replicas: 3 } });
          const found = await until('a third is made', async () => {
            const members = await objects.members(name);
            return members.length === 3 && members;
          });
          assert.deepEqual(uids.filter((uid) => found.some(({ metadata }) => metadata.uid === uid)).length, 2);
        }
      });

    it('gives a claim another sandbox when its own is deleted', async () => {
      const [first] = await objects.filledPool('again', 1);
      await objects.claim('again', 'again');
      await objects.ready('again');
      await world.client.delete(SANDBOXES, { namespace: 'default', name: first?.metadata.name ?? '' });
      await until('the claim has another', async () => {
        const claim = await objects.ready('again');
        return claim.status?.sandbox?.name !== first?.metadata.name;
      });
    });

    const past = () => new Date(Date.now() - 1000).toISOString().replace(/\.\d+Z$/, 'Z');

    it('keeps an expired claim and deletes its sandbox with Retain, until its time is moved', async () => {
      await objects.filledPool('retained', 1);
      await objects.claim('retained', 'retained');
      const bound = await objects.ready('retained');
      await objects.patch(SANDBOX_CLAIMS, 'retained', { spec: { lifecycle: { shutdownTime: past() } } });
      const expired = await objects.ready('retained', 'ClaimExpired');
      assert.equal(readyOf(expired)?.status, 'False');
      await objects.gone(SANDBOXES, bound.status?.sandbox?.name ?? '');
      await until('the claim names it no more', async () => {
        const claim = await objects.get<SandboxClaim>(SANDBOX_CLAIMS, 'retained');
        return claim?.status?.sandbox === undefined;
      });
      await until('it is told', async () => (await eventsOf(expired)).includes('ClaimExpired'));
      await objects.patch(SANDBOX_CLAIMS, 'retained', { spec: { lifecycle: { shutdownTime: null } } });
      await objects.ready('retained');
    });

    it('deletes an expired claim with Delete', async () => {
      await objects.filledPool('deleted', 1);
      const shutdownTime = new Date(Date.now() + 2500).toISOString().replace(/\.\d+Z$/, 'Z');
      await objects.claim('deleted', 'deleted', { lifecycle: { shutdownTime, shutdownPolicy: 'Delete' } });
      const { status } = await objects.ready('deleted');
      await objects.gone(SANDBOX_CLAIMS, 'deleted');
      assert.ok(Date.now() >= Date.parse(shutdownTime));
      if (world.collectsGarbage) await objects.gone(SANDBOXES, status?.sandbox?.name ?? '');
    });

    it('asks for deletion in the foreground with DeleteForeground', async () => {
      await objects.filledPool('foreground', 1);
      await objects.claim('foreground', 'foreground', { lifecycle: { shutdownPolicy: 'DeleteForeground' } });
      const { status } = await objects.ready('foreground');
      await objects.patch(SANDBOX_CLAIMS, 'foreground', { spec: { lifecycle: { shutdownTime: past() } } });
      if (world.collectsGarbage) {
        await objects.gone(SANDBOX_CLAIMS, 'foreground');
        assert.equal(await objects.get(SANDBOXES, status?.sandbox?.name ?? ''), undefined);
      } else {
        await until('its dependents are waited for', async () => {
          const claim = await objects.get<SandboxClaim>(SANDBOX_CLAIMS, 'foreground');
          return claim?.metadata.finalizers?.includes('foregroundDeletion');
        });
        await objects.patch(SANDBOX_CLAIMS, 'foreground', { metadata: { finalizers: null } });
      }
    });

    it('ends a claim a while after its sandbox finished', async () => {
      const [container] = containers.map((sleeper) => ({ ...sleeper, command: ['sleep', '1'] }));
      assert.ok(container);
      await objects.template('finished', {
        podTemplate: { spec: { ...SLEEPER.spec, restartPolicy: 'Never', containers: [container] } },
      });
      await objects.pool('finished', 'finished', { replicas: 0 });
      await objects.claim('finished', 'finished', {
        lifecycle: { ttlSecondsAfterFinished: 2, shutdownPolicy: 'Delete' },
      });
      await objects.ready('finished');
      await world.finish?.('finished');
      const finished = await until('the claim says that it finished', async () => {
        const claim = await objects.get<SandboxClaim>(SANDBOX_CLAIMS, 'finished');
        return claim?.status?.conditions?.find(({ type }) => type === 'Finished');
      });
      assert.equal(finished.reason, 'PodSucceeded');
      await objects.gone(SANDBOX_CLAIMS, 'finished');
      assert.ok(Date.now() >= Date.parse(finished.lastTransitionTime ?? '') + 2000);
    });
  });
}
