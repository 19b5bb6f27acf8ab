import type {
  KubernetesObject,
  PodSpec,
  Sandbox,
  SandboxClaim,
  SandboxTemplate,
  SandboxWarmPool,
} from '../../../src/kubernetes/index.ts';

/** Namespace and pool of the load. */
export const NAMESPACE = 'default';
export const POOL = 'counters';
/** Annotation that the load changes. */
export const VALUE_ANNOTATION = 'crash-test/value';

const podSpec: PodSpec = {
  runtimeClassName: 'gvisor',
  terminationGracePeriodSeconds: 0,
  containers: [
    {
      name: 'counter',
      image: 'sandbox-router.local/toolbox',
      command: ['/opt/sandbox-router/agent/bin/sandbox-router-counter'],
      ports: [{ name: 'http', containerPort: 8080 }],
      resources: { limits: { memory: '1Gi', cpu: '2' } },
    },
  ],
};

/** A Sandbox that counts in memory; `disk` gives it a volume of its own. */
export function counterSandbox(name: string, { disk = false } = {}): Sandbox {
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { name, namespace: NAMESPACE },
    spec: {
      podTemplate: {
        spec: disk
          ? {
              ...podSpec,
              containers: podSpec.containers.map((container) => ({
                ...container,
                volumeMounts: [{ name: 'disk', mountPath: '/disk' }],
              })),
            }
          : podSpec,
      },
      ...(disk
        ? {
            volumeClaimTemplates: [
              {
                metadata: { name: 'disk' },
                spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
              },
            ],
          }
        : {}),
    },
  };
}

/** Template and pool of sandboxes that count. */
export function counterPool(replicas: number): [SandboxTemplate, SandboxWarmPool] {
  const metadata = { name: POOL, namespace: NAMESPACE };
  const apiVersion = 'extensions.agents.x-k8s.io/v1beta1';
  return [
    { apiVersion, kind: 'SandboxTemplate', metadata, spec: { podTemplate: { spec: podSpec } } },
    { apiVersion, kind: 'SandboxWarmPool', metadata, spec: { replicas, sandboxTemplateRef: { name: POOL } } },
  ] as [SandboxTemplate, SandboxWarmPool];
}

/** A claim on the pool. */
export function counterClaim(name: string): SandboxClaim {
  return {
    apiVersion: 'extensions.agents.x-k8s.io/v1beta1',
    kind: 'SandboxClaim',
    metadata: { name, namespace: NAMESPACE },
    spec: { warmPoolRef: { name: POOL } },
  } as SandboxClaim;
}

/** A ConfigMap. */
export function configMap(name: string): KubernetesObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: NAMESPACE } };
}

/** Asks for a snapshot of a Sandbox's Pod. */
export function snapshotTrigger(name: string, targetPod: string): KubernetesObject & { spec: { targetPod: string } } {
  return {
    apiVersion: 'podsnapshot.gke.io/v1',
    kind: 'PodSnapshotManualTrigger',
    metadata: { name, namespace: NAMESPACE },
    spec: { targetPod },
  };
}
