import {
  COLD_START_ANNOTATION,
  NAME_HASH_LABEL,
  nameHash,
  POD_NAME_ANNOTATION,
  type Pod,
  RESTORE_ANNOTATION,
  type Sandbox,
} from '../../../kubernetes/index.ts';

/** Keys of a pod template that never reach the Pod: the controller sets its own (contract section 1.6). */
const RESERVED = /^(extensions\.)?agents\.x-k8s\.io\//;
const TRACE_CONTEXT = 'opentelemetry.io/trace-context';

/** Name of a Sandbox's Pod: its annotation for adopted ones, else its own name (contract section 2.2). */
export function podNameOf(sandbox: Sandbox): string {
  return sandbox.metadata.annotations?.[POD_NAME_ANNOTATION] ?? sandbox.metadata.name;
}

/** Whether a Pod's controller is this very Sandbox. */
export function isOwnedBy(pod: Pod, sandbox: Sandbox): boolean {
  return (pod.metadata.ownerReferences ?? []).some(
    (owner) => owner.controller === true && owner.uid === sandbox.metadata.uid,
  );
}

/** The Pod of a Sandbox (contract section 2.2). `restoreFrom` is the snapshot to start from, `nodeName` set where no scheduler would. */
export function podForSandbox(
  sandbox: Sandbox,
  { restoreFrom, nodeName }: { restoreFrom?: string | undefined; nodeName?: string | undefined },
): Pod {
  const { metadata = {}, spec } = sandbox.spec.podTemplate;
  const labels = withoutReserved(metadata.labels);
  const annotations = withoutReserved(metadata.annotations);
  const coldStart = sandbox.metadata.annotations?.[COLD_START_ANNOTATION];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: sandbox.metadata.name,
      ...(sandbox.metadata.namespace === undefined ? {} : { namespace: sandbox.metadata.namespace }),
      labels: { ...labels, [NAME_HASH_LABEL]: nameHash(sandbox.metadata.name) },
      annotations: {
        ...annotations,
        'agents.x-k8s.io/propagated-labels': Object.keys(labels).sort().join(','),
        'agents.x-k8s.io/propagated-annotations': Object.keys(annotations).sort().join(','),
        ...(restoreFrom === undefined ? {} : { [RESTORE_ANNOTATION]: restoreFrom }),
        ...(coldStart === undefined ? {} : { [COLD_START_ANNOTATION]: coldStart }),
      },
      ownerReferences: [
        {
          apiVersion: sandbox.apiVersion,
          kind: sandbox.kind,
          name: sandbox.metadata.name,
          uid: sandbox.metadata.uid ?? '',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    spec: { ...spec, ...(nodeName === undefined ? {} : { nodeName }) },
  };
}

function withoutReserved(entries: Record<string, string> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).filter(([key]) => !RESERVED.test(key) && key !== TRACE_CONTEXT));
}
