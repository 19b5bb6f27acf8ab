import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  type KubernetesObject,
  nameHash,
  PODS,
  type Pod,
  SANDBOX_FORMS,
  type SandboxForm,
} from '../../src/kubernetes/index.ts';
import { CUSTOM_RESOURCE_DEFINITIONS, type KubeApiServer, startKubeApiServer } from '../support/kube-apiserver.ts';
import { rawRequest } from '../support/raw-request.ts';
import { type ServeProcess, startServe, writeKeys } from '../support/serve.ts';
import { startStandInKubelet } from '../support/stand-in-kubelet.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { NODE_NAME } from './world.ts';

const PORT = 8899;

describe('a cluster that serves Sandboxes in another form', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 120_000,
}, () => {
  let kube: KubeApiServer;
  let router: ServeProcess;
  let token: string;
  let kubelet: ReturnType<typeof startStandInKubelet>;
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-forms-'));

  before(async () => {
    kube = await startKubeApiServer({ kinds: () => false });
    kubelet = startStandInKubelet({ client: kube.client, nodeName: NODE_NAME, port: PORT });
    const keys = writeKeys(directory, { admin: { tenant: 'default' } });
    token = keys.tokens.admin;
    router = await startServe({ kubeconfig: kube.kubeconfigPath, keys: keys.path });
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await kubelet?.close();
    await kube?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const get = (path: string, timeout = '10') =>
    rawRequest(router.url, { path, headers: { authorization: `Bearer ${token}`, 'x-sandbox-timeout': timeout } });

  it('is told apart from one without Agent Sandbox, which is not ready and says why', async () => {
    await until('the router says what is missing', () => /serves no Sandboxes/.test(router.output()));
    assert.equal((await fetch(`${router.adminUrl}/readyz`)).status, 503);
    assert.equal((JSON.parse((await get('/box/')).body) as { code: string }).code, 'table_not_ready');
  });

  for (const form of SANDBOX_FORMS.slice(1).reverse())
    it(`${form.type.group}/${form.type.version}: routes, and wakes by its own field`, async () => {
      const name = `box-${form.type.version}`;
      await serve(form);
      const sandbox = await kube.client.create<KubernetesObject>(form.type, objectOf(form, name));
      await createPod(sandbox, form);
      await until('it is routed', async () => (await get(`/${name}/`)).status === 200, 60_000);
      await kube.client.patch(form.type, key(name), { spec: form.mode(false) }, { type: 'merge' });
      await kube.client.delete(PODS, key(name), { gracePeriodSeconds: 0 });
      await until('its pod is gone', async () => (await get(`/-/v1/resolve/${name}`)).body.includes('"address":null'));
      const answer = get(`/${name}/`);
      const woken = await until('the router has set it to run', async () => {
        const found = await kube.client.get<KubernetesObject>(form.type, key(name));
        return form.running(found) ? found : undefined;
      });
      await createPod(woken, form);
      assert.equal((await answer).status, 200);
      await kube.client.delete(CUSTOM_RESOURCE_DEFINITIONS, { name: `${form.type.plural}.${form.type.group}` });
    });

  const key = (name: string) => ({ namespace: 'default', name });

  /** Makes the API serve this form, and no other. */
  async function serve({ type }: SandboxForm): Promise<void> {
    await kube.client.create(CUSTOM_RESOURCE_DEFINITIONS, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: {
        name: `${type.plural}.${type.group}`,
        annotations: { 'api-approved.kubernetes.io': 'unapproved, tests only' },
      },
      spec: {
        group: type.group,
        scope: 'Namespaced',
        names: { kind: type.kind, plural: type.plural, singular: 'sandbox' },
        versions: [
          {
            name: type.version,
            served: true,
            storage: true,
            subresources: { status: {} },
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          },
        ],
      },
    } as unknown as KubernetesObject);
    await until('it is served', () =>
      kube.client.list(type, { limit: 1 }).then(
        () => true,
        () => false,
      ),
    );
  }

  function objectOf({ type }: SandboxForm, name: string): KubernetesObject {
    const template = {
      metadata: { labels: { 'sandbox-router/egress': 'none' } },
      spec: { containers: [{ name: 'a', image: 'example.test/a', ports: [{ containerPort: PORT }] }] },
    };
    const spec = type.group === 'sandbox.gke.io' ? { template } : { podTemplate: template };
    return {
      apiVersion: `${type.group}/${type.version}`,
      kind: 'Sandbox',
      metadata: { namespace: 'default', name },
      spec,
    } as unknown as KubernetesObject;
  }

  /** What the form's own controller would do: a Pod, and a status that follows the generation. */
  async function createPod({ metadata }: KubernetesObject, { type }: SandboxForm): Promise<void> {
    await kube.client.create<Pod>(PODS, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        ...key(metadata.name),
        labels: { 'agents.x-k8s.io/sandbox-name-hash': nameHash(metadata.name), 'sandbox-router/egress': 'none' },
        ownerReferences: [
          {
            apiVersion: `${type.group}/${type.version}`,
            kind: 'Sandbox',
            name: metadata.name,
            uid: metadata.uid ?? '',
            controller: true,
          },
        ],
      },
      spec: { nodeName: NODE_NAME, containers: [{ name: 'a', image: 'example.test/a' }] },
    });
    const condition = {
      type: 'Ready',
      status: 'True',
      reason: 'DependenciesReady',
      message: '',
      observedGeneration: metadata.generation,
      lastTransitionTime: new Date().toISOString().replace(/\.\d+/, ''),
    };
    await kube.client.patch(
      type,
      key(metadata.name),
      { status: { conditions: [condition] } },
      {
        type: 'merge',
        subresource: 'status',
      },
    );
  }
});
