import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FactsClient, readFacts } from '../../../src/cli/doctor/read-facts.ts';
import {
  ApiError,
  type KubernetesObject,
  type Pod,
  type ResourceList,
  type ResourceType,
} from '../../../src/kubernetes/index.ts';

const SCOPE = { routerNamespace: 'system', routerLabels: { app: 'router' } };

/** An API that answers everything with nothing, but pods as told. */
function api(pods: (page: string | undefined) => ResourceList<KubernetesObject>): FactsClient {
  return {
    read: async <Result>() => ({}) as Result,
    create: async <T extends KubernetesObject>(_type: ResourceType, object: T) => object,
    list: async <T extends KubernetesObject>(type: ResourceType, options: { continue?: string } = {}) =>
      (type.plural === 'pods' ? pods(options.continue) : { items: [], resourceVersion: '1' }) as ResourceList<T>,
  };
}

function failureOf(reason: string, code: number): ApiError {
  const details = { retryAfterSeconds: 0 };
  return new ApiError({ apiVersion: 'v1', kind: 'Status', metadata: {}, status: 'Failure', reason, code, details });
}

const pod = (name: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, managedFields: [1] },
  spec: { containers: [] },
});

test('a list that expires between two pages is read anew, without doubles', async () => {
  let expired = false;
  const client = api((page) => {
    if (page === undefined) return { items: [pod('a')], resourceVersion: '1', continue: 'next' };
    if (!expired) {
      expired = true;
      throw failureOf('Expired', 410);
    }
    return { items: [pod('b')], resourceVersion: '1' };
  });
  const { lists } = await readFacts(client, SCOPE);
  assert.deepEqual(
    lists.pods.items.map(({ metadata }) => metadata),
    [{ name: 'a' }, { name: 'b' }],
  );
});

test('a busy server is asked again, but not for ever', async () => {
  let refusals = 0;
  const busyOnce = api(() => {
    if (refusals++ < 2) throw failureOf('TooManyRequests', 429);
    return { items: [], resourceVersion: '1' };
  });
  await readFacts(busyOnce, SCOPE);
  const busy = api(() => {
    throw failureOf('TooManyRequests', 429);
  });
  await assert.rejects(readFacts(busy, SCOPE), { code: 'TooManyRequests' });
});

test('what is forbidden, or not served, is said; any other failure ends it', async () => {
  const refusing = (reason: string, code: number) =>
    api(() => {
      throw failureOf(reason, code);
    });
  const forbidden = await readFacts(refusing('Forbidden', 403), { ...SCOPE, namespace: 'team' });
  assert.equal(forbidden.lists.pods.unread?.reason, 'The right to list pods in namespace team is missing.');
  assert.equal(forbidden.lists.routerPods.unread?.reason, 'The right to list pods in namespace system is missing.');
  const missing = await readFacts(refusing('NotFound', 404), SCOPE);
  assert.equal(missing.lists.pods.unread?.cause, 'not-served');
  await assert.rejects(readFacts(refusing('Unauthorized', 401), SCOPE), { code: 'Unauthorized' });
});
