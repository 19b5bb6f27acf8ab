import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { KubernetesObject, ResourceType } from '../../src/kubernetes/index.ts';
import { SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import { type FailingWebhook, startFailingWebhook, VALIDATING_WEBHOOKS } from '../support/failing-webhook.ts';
import { rawRequest } from '../support/raw-request.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause } from './world.ts';

const RESOURCE_QUOTAS: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'resourcequotas',
  kind: 'ResourceQuota',
  namespaced: true,
};
const POLICIES: ResourceType = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingadmissionpolicies',
  kind: 'ValidatingAdmissionPolicy',
  namespaced: false,
};
const POLICY_BINDINGS: ResourceType = {
  ...POLICIES,
  plural: 'validatingadmissionpolicybindings',
  kind: 'ValidatingAdmissionPolicyBinding',
};
/** What is refused: to let this sandbox run again. */
const WAKES = { apiGroups: ['agents.x-k8s.io'], apiVersions: ['*'], resources: ['sandboxes'], operations: ['UPDATE'] };
const wakeOf = (name: string) =>
  `object.metadata.name == '${name}' && object.spec.operatingMode == 'Running' && oldObject.spec.operatingMode != 'Running'`;

describe('a wake that the cluster refuses', { skip: missingTool('etcd', 'kube-apiserver'), timeout: 200_000 }, () => {
  let world: ClusterWorld;
  let webhook: FailingWebhook;

  before(async () => {
    [world, webhook] = await Promise.all([clusterWorld(), startFailingWebhook()]);
  });
  after(async () => {
    await webhook?.close();
    await world?.close();
  });

  const get = (path: string, timeout = '20') =>
    rawRequest(world.url, { path, headers: { authorization: `Bearer ${world.token}`, 'x-sandbox-timeout': timeout } });
  const create = (type: ResourceType, object: object) => world.client.create(type, object as KubernetesObject);
  const sandbox = (name: string) => world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name });
  const paused = async (name: string) => {
    await createReady(world.client, echoSandbox(name));
    await pause(world.client, name);
    await until('the router knows that it is paused', async () => {
      const { body } = await get(`/-/v1/sandboxes/${name}`);
      return (JSON.parse(body) as { state: string }).state === 'paused';
    });
  };
  /** Waits until what was just made is in force: the API server takes it up a moment later. */
  const refuses = (name: string) =>
    until('a wake is refused', async () => {
      const patch = { spec: { operatingMode: 'Running' } };
      const key = { namespace: 'default', name };
      const accepted = await world.client.patch(SANDBOXES, key, patch, { type: 'merge' }).then(Boolean, () => false);
      if (accepted) await pause(world.client, name);
      return !accepted;
    });
  /** One request, and what is the same of every refusal. */
  const refusal = async (name: string) => {
    const answer = await get(`/${name}/`);
    const { code, detail } = JSON.parse(answer.body) as { code: string; detail: string };
    assert.deepEqual([answer.status, code], [503, 'wake_failed'], answer.body);
    assert.ok(Number(answer.headers.get('retry-after')?.[0]) >= 1);
    return detail;
  };

  it('by a policy says which, and why', async () => {
    await paused('frozen');
    await create(POLICIES, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name: 'budget' },
      spec: {
        failurePolicy: 'Fail',
        matchConstraints: { resourceRules: [WAKES] },
        validations: [
          {
            expression: `!(${wakeOf('frozen')})`,
            message: 'exceeded quota: the budget of July is spent',
            reason: 'Forbidden',
          },
        ],
      },
    });
    await create(POLICY_BINDINGS, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name: 'budget' },
      spec: { policyName: 'budget', validationActions: ['Deny'] },
    });
    await refuses('frozen');
    assert.match(await refusal('frozen'), /exceeded quota: the budget of July is spent/);
    assert.equal((await sandbox('frozen')).spec.operatingMode, 'Suspended');
  });

  it('by a quota for its pod says which, and goes on once there is room', async () => {
    await paused('crowded');
    const key = { namespace: 'default', name: 'pods' };
    const room = async (pods: number) => {
      // What a controller of quotas would keep, and none runs here.
      const status = { hard: { pods: String(pods) }, used: { pods: '0' } };
      await world.client.patch(RESOURCE_QUOTAS, key, { spec: { hard: status.hard } }, { type: 'merge' });
      await world.client.patch(RESOURCE_QUOTAS, key, { status }, { type: 'merge', subresource: 'status' });
    };
    await create(RESOURCE_QUOTAS, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: key,
      spec: { hard: { pods: '0' } },
    });
    await room(0);
    await until('the quota is in force', async () => {
      const detail = await refusal('crowded');
      return /exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0/.test(detail);
    });
    await room(10);
    await until('there is room', async () => (await get('/crowded/')).status === 200);
  });

  it('by a webhook that fails says so, asks it three times and then leaves it alone for a while', async () => {
    await paused('hooked');
    await create(VALIDATING_WEBHOOKS, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: 'guard' },
      webhooks: [
        {
          name: 'guard.example.test',
          failurePolicy: 'Fail',
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          timeoutSeconds: 1,
          rules: [{ ...WAKES, scope: '*' }],
          matchConditions: [{ name: 'wakes', expression: `${wakeOf('hooked')} || ${wakeOf('slow')}` }],
          clientConfig: { url: webhook.url, caBundle: webhook.caBundle },
        },
      ],
    });
    await refuses('hooked');
    const before_ = webhook.asked();
    const details = [];
    for (let turn = 0; turn < 10; turn++) details.push(await refusal('hooked'));
    for (const detail of details)
      assert.match(detail, /failed calling webhook "guard\.example\.test".*the policy engine is out of order/);
    assert.ok(webhook.asked() - before_ < 10, `${webhook.asked() - before_} patches for 10 requests`);
    assert.equal((await sandbox('hooked')).spec.operatingMode, 'Suspended');
  });

  it('by a webhook that does not answer says so, and is woken once that is gone', async () => {
    await paused('slow');
    webhook.fail('silence');
    assert.match(await refusal('slow'), /failed calling webhook "guard\.example\.test".*(deadline exceeded|timeout)/i);
    await world.client.delete(VALIDATING_WEBHOOKS, { name: 'guard' });
    for (const name of ['slow', 'hooked'])
      await until('it is woken', async () => (await get(`/${name}/`)).status === 200);
  });
});
