import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { nameHash } from '../../src/kubernetes/index.ts';

/** One sandbox of the fake cluster: a name and where its pod listens. */
export interface FakeSandbox {
  namespace: string;
  name: string;
  address: string;
  port: number;
  /** Of the Sandbox, beside its port. */
  annotations?: Readonly<Record<string, string>>;
}

/** A Kubernetes API that serves Sandboxes and their Pods from memory, fast; only list, watch and discovery. */
export interface FakeCluster {
  /** Kubeconfig as text. */
  kubeconfig: string;
  /** Replaces one sandbox's pod by a new one (new UID) and tells every watcher. */
  replacePod(index: number): void;
  /** Tells every watcher that one sandbox's pod has become unready, or ready again. */
  touchPod(index: number): void;
  close(): Promise<void>;
}

/** Starts the fake API on a free loopback port. Sandboxes are running, their pods Ready. */
export async function startFakeCluster(sandboxes: FakeSandbox[]): Promise<FakeCluster> {
  let version = 1;
  const lines = new Map<number, [string, string, string]>();
  const flipped = new Set<number>();
  const podGenerations = new Map<number, number>();
  const watchers = new Map<'sandboxes' | 'pods', Set<ServerResponse>>([
    ['sandboxes', new Set()],
    ['pods', new Set()],
  ]);
  const make = {
    sandboxes: (index: number) => sandboxObject(sandboxes[index] as FakeSandbox, index),
    pods: (index: number) => podObject(sandboxes[index] as FakeSandbox, index, podGenerations.get(index) ?? 0),
  };
  const server = createServer((request, response) => answer(request, response));
  server.keepAliveTimeout = 0;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? '/', url);
    const plural = pathname.split('/').at(-1);
    response.setHeader('content-type', 'application/json');
    if (plural !== 'sandboxes' && plural !== 'pods') {
      discovery(pathname, response);
      return;
    }
    if (searchParams.get('watch') !== null) {
      watchers.get(plural)?.add(response);
      response.on('close', () => watchers.get(plural)?.delete(response));
      response.flushHeaders();
      return;
    }
    const start = Number(searchParams.get('continue') ?? 0);
    const end = Math.min(sandboxes.length, start + Number(searchParams.get('limit') ?? sandboxes.length));
    const items = Array.from({ length: end - start }, (_, offset) => make[plural](start + offset));
    const metadata = { resourceVersion: String(version), ...(end < sandboxes.length ? { continue: String(end) } : {}) };
    const kind = plural === 'pods' ? 'PodList' : 'SandboxList';
    const apiVersion = plural === 'pods' ? 'v1' : 'agents.x-k8s.io/v1beta1';
    response.end(JSON.stringify({ kind, apiVersion, metadata, items }));
  }

  return {
    kubeconfig: JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'fake',
      clusters: [{ name: 'fake', cluster: { server: url } }],
      users: [{ name: 'fake', user: { token: 'fake' } }],
      contexts: [{ name: 'fake', context: { cluster: 'fake', user: 'fake', namespace: 'default' } }],
    }),
    replacePod: (index) => {
      const before = make.pods(index);
      podGenerations.set(index, (podGenerations.get(index) ?? 0) + 1);
      lines.delete(index);
      tell('DELETED', before);
      tell('ADDED', make.pods(index));
    },
    touchPod: (index) => {
      const lines = podLines(index);
      const state = flipped.has(index) ? 1 : 0;
      if (state === 1) flipped.delete(index);
      else flipped.add(index);
      version++;
      const line = `${lines[state]}${version}${lines[2]}`;
      for (const watcher of watchers.get('pods') ?? []) watcher.write(line);
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };

  /** Text of a pod's events up to its version, unready and ready, and what follows: made once, for the fake must cost less than the router. */
  function podLines(index: number): [string, string, string] {
    const known = lines.get(index);
    if (known !== undefined) return known;
    const text = (ready: boolean) => {
      const object = make.pods(index);
      object.status.conditions = [{ type: 'Ready', status: ready ? 'True' : 'False' }];
      const { resourceVersion: _version, ...metadata } = object.metadata;
      return `{"type":"MODIFIED","object":${JSON.stringify({ ...object, metadata: undefined }).slice(0, -1)},"metadata":${JSON.stringify(metadata).slice(0, -1)},"resourceVersion":"`;
    };
    const made: [string, string, string] = [text(false), text(true), '"}}}\n'];
    lines.set(index, made);
    return made;
  }

  function tell(type: 'ADDED' | 'DELETED', object: ReturnType<typeof podObject>): void {
    version++;
    object.metadata.resourceVersion = String(version);
    const line = `${JSON.stringify({ type, object })}\n`;
    for (const watcher of watchers.get('pods') ?? []) watcher.write(line);
  }
}

function discovery(pathname: string, response: ServerResponse): void {
  const documents: Record<string, unknown> = {
    '/version': { major: '1', minor: '34', gitVersion: 'v1.34.1' },
    '/api': { kind: 'APIVersions', versions: ['v1'] },
    '/apis': {
      kind: 'APIGroupList',
      apiVersion: 'v1',
      groups: [
        {
          name: 'agents.x-k8s.io',
          versions: [{ groupVersion: 'agents.x-k8s.io/v1beta1', version: 'v1beta1' }],
          preferredVersion: { groupVersion: 'agents.x-k8s.io/v1beta1', version: 'v1beta1' },
        },
      ],
    },
    '/apis/agents.x-k8s.io': {
      kind: 'APIGroup',
      apiVersion: 'v1',
      name: 'agents.x-k8s.io',
      versions: [{ groupVersion: 'agents.x-k8s.io/v1beta1', version: 'v1beta1' }],
    },
    '/apis/agents.x-k8s.io/v1beta1': {
      kind: 'APIResourceList',
      apiVersion: 'v1',
      groupVersion: 'agents.x-k8s.io/v1beta1',
      resources: [
        {
          name: 'sandboxes',
          singularName: 'sandbox',
          namespaced: true,
          kind: 'Sandbox',
          verbs: ['get', 'list', 'watch', 'patch'],
        },
      ],
    },
  };
  const document = documents[pathname];
  response.statusCode = document === undefined ? 404 : 200;
  response.end(
    JSON.stringify(
      document ?? {
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        reason: 'NotFound',
        code: 404,
        message: pathname,
      },
    ),
  );
}

/** The Sandbox object of one. */
export function sandboxObject({ namespace, name, port, annotations }: FakeSandbox, index: number) {
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: {
      name,
      namespace,
      uid: uid('5', index, 0),
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: '2026-01-01T00:00:00Z',
      annotations: { 'sandbox-router/port': String(port), ...annotations },
    },
    spec: { operatingMode: 'Running', podTemplate: { spec: podSpec(port) } },
    status: {
      conditions: [
        { type: 'Ready', status: 'True', reason: 'DependenciesReady', message: 'Pod is Ready', observedGeneration: 1 },
      ],
    },
  };
}

/** Its Pod object. */
export function podObject({ namespace, name, address, port }: FakeSandbox, index: number, generation: number) {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      uid: uid('9', index, generation),
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels: { 'agents.x-k8s.io/sandbox-name-hash': nameHash(name), 'sandbox-router/egress': 'none' },
      ownerReferences: [
        { apiVersion: 'agents.x-k8s.io/v1beta1', kind: 'Sandbox', name, uid: uid('5', index, 0), controller: true },
      ],
    },
    spec: { ...podSpec(port), nodeName: 'node-1', runtimeClassName: 'gvisor' },
    status: {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  };
}

function podSpec(port: number) {
  return {
    containers: [{ name: 'main', image: 'example.test/app:1', ports: [{ name: 'http', containerPort: port }] }],
  };
}

function uid(kind: string, index: number, generation: number): string {
  return `${kind}0000000-0000-4000-8${generation.toString(16).padStart(3, '0')}-${index.toString(16).padStart(12, '0')}`;
}
