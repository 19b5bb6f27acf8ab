import { connect } from 'node:tls';
import {
  type ApiAccess,
  apiPath,
  NAME_HASH_LABEL,
  nameHash,
  PODS,
  type ResourceType,
  SANDBOXES,
} from '../../src/kubernetes/index.ts';
import { createLeanConnections } from './lean-http.ts';

/** What a controller and a kubelet write to an API server for a sandbox, with as little work for both sides as it can be done with. */
export interface SandboxWrites {
  /** Writes a Sandbox, its Pod, and that the Pod is ready at this address; resolves with the server's answer to the last. @throws Error with any answer that is not 2xx */
  makeReady(name: string, address: string): Promise<void>;
  close(): void;
}

/** Controllers have a bounded number of workers; what is due beyond them waits here, and its time does not count. */
const CONNECTIONS = 8;

/** As with every sandbox, its Pod's labels stand in its template: by them a request is admitted before there is a Pod, and then held. */
const EGRESS = { 'sandbox-router/egress': 'none' };

/** Writes to the namespace `default`. Sandboxes say that they listen on `port`. */
export function createSandboxWrites(access: ApiAccess, port: number): SandboxWrites {
  const { hostname, port: apiPort } = new URL(access.server);
  const connections = createLeanConnections(
    () => connect({ host: hostname, port: Number(apiPort), ...(access.ca === undefined ? {} : { ca: access.ca }) }),
    CONNECTIONS,
  );

  async function write(method: 'POST' | 'PUT', type: ResourceType, body: object, name?: string): Promise<string> {
    const path = apiPath(type, 'default', name, name === undefined ? undefined : 'status');
    const text = JSON.stringify(body);
    const { authorization } = await access.authenticate();
    const answer = await connections.send(
      // Nothing here is misspelt: the server need not look for it.
      `${method} ${path}?fieldValidation=Ignore HTTP/1.1\r\nhost: ${hostname}:${apiPort}\r\nauthorization: ${authorization}\r\naccept: application/json\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    );
    if (answer.status >= 300) throw new Error(`The API server answered ${answer.status}: ${answer.body}`);
    return answer.body;
  }

  return {
    makeReady: async (name, address) => {
      const sandbox = JSON.parse(await write('POST', SANDBOXES, sandboxOf(name, port)));
      const labels = { [NAME_HASH_LABEL]: nameHash(name), ...EGRESS };
      await write('POST', PODS, podOf(name, sandbox.metadata.uid, labels));
      await write('PUT', PODS, readyPodOf(name, labels, address), name);
    },
    close: connections.close,
  };
}

function sandboxOf(name: string, port: number): object {
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { namespace: 'default', name, annotations: { 'sandbox-router/port': String(port) } },
    spec: {
      podTemplate: {
        metadata: { labels: EGRESS },
        spec: { containers: [{ name: 'a', image: 'example.test/a' }] },
      },
    },
  };
}

function podOf(name: string, uid: string, labels: Record<string, string>): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: 'default',
      name,
      labels,
      ownerReferences: [{ apiVersion: 'agents.x-k8s.io/v1beta1', kind: 'Sandbox', name, uid, controller: true }],
    },
    spec: { nodeName: 'bench', containers: [{ name: 'a', image: 'example.test/a' }] },
  };
}

/** For the status subresource, which leaves spec and owners as they are, but not labels. */
function readyPodOf(name: string, labels: Record<string, string>, address: string): object {
  const lastTransitionTime = new Date().toISOString().replace(/\.\d+/, '');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'default', name, labels },
    spec: { containers: [] },
    status: {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: [{ type: 'Ready', status: 'True', lastTransitionTime }],
    },
  };
}
