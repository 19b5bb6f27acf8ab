import {
  CHECKPOINT_ANNOTATION,
  CLAIM_UID_LABEL,
  COLD_START_ANNOTATION,
  CREATED_BY_LABEL,
  EXTENSIONS_GROUP,
  NAME_HASH_LABEL,
  nameHash,
  POD_NAME_ANNOTATION,
  type Pod,
  PROPAGATED_ANNOTATIONS_ANNOTATION,
  PROPAGATED_LABELS_ANNOTATION,
  RESTORE_ANNOTATION,
  type Sandbox,
  TEMPLATE_REF_HASH_LABEL,
  TRACE_CONTEXT_ANNOTATION,
  WARM_POOL_LABEL,
} from '../../../kubernetes/index.ts';
import { controllerOf, ownerReferenceTo } from './ownership.ts';

/** Labels that the controller takes off a Pod again when they don't apply any more. */
const CONTROLLED_LABELS = [CLAIM_UID_LABEL, WARM_POOL_LABEL, TEMPLATE_REF_HASH_LABEL, CREATED_BY_LABEL];
/** Annotations by which the engine is told what to do with a Pod: a template that could set them could have anybody's snapshot. */
const COMMANDS = [CHECKPOINT_ANNOTATION, RESTORE_ANNOTATION, COLD_START_ANNOTATION];
const KNOWN_CREATORS = ['go-client', 'python-client', 'controller'];

/** Name of a Sandbox's Pod: its annotation for adopted ones, else its own name (contract section 2.2). */
export function podNameOf(sandbox: Sandbox): string {
  return sandbox.metadata.annotations?.[POD_NAME_ANNOTATION] || sandbox.metadata.name;
}

/** The Pod of a Sandbox (contract section 2.2). `restoreFrom` is the snapshot to start from, `nodeName` set where no scheduler would. */
export function podForSandbox(
  sandbox: Sandbox,
  { restoreFrom, nodeName }: { restoreFrom?: string | undefined; nodeName?: string | undefined } = {},
): Pod {
  const { spec } = sandbox.spec.podTemplate;
  const { name, namespace, annotations } = sandbox.metadata;
  const coldStart = annotations?.[COLD_START_ANNOTATION];
  const wanted = wantedMetadata(sandbox);
  const volumes = withClaims(sandbox);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...wanted.labels, ...wanted.ownLabels },
      annotations: {
        ...wanted.annotations,
        ...(restoreFrom === undefined ? {} : { [RESTORE_ANNOTATION]: restoreFrom }),
        ...(coldStart === undefined ? {} : { [COLD_START_ANNOTATION]: coldStart }),
        ...listed(PROPAGATED_LABELS_ANNOTATION, wanted.labels),
        ...listed(PROPAGATED_ANNOTATIONS_ANNOTATION, wanted.annotations),
      },
      ownerReferences: [ownerReferenceTo(sandbox)],
    },
    spec: {
      ...spec,
      ...(volumes.length === 0 ? {} : { volumes }),
      ...(nodeName === undefined ? {} : { nodeName }),
    },
  };
}

/** A merge patch of labels and annotations; null removes a key. */
export interface MetadataPatch {
  labels?: Record<string, string | null>;
  annotations?: Record<string, string | null>;
}

/**
 * What an existing Pod's labels and annotations lack or have too much (contract section 2.2): the template's keys that came and went,
 * and the controller's own. Empty when nothing differs.
 */
export function metadataDrift(pod: Pod, sandbox: Sandbox): MetadataPatch {
  const { labels = {}, annotations = {} } = pod.metadata;
  const wanted = wantedMetadata(sandbox);
  const removable = (list: string | undefined, keep: Record<string, string>) =>
    (list ?? '').split(',').filter((key) => key !== '' && keep[key] === undefined);
  const labelPatch = drift(labels, { ...wanted.labels, ...wanted.ownLabels }, [
    ...removable(annotations[PROPAGATED_LABELS_ANNOTATION], { ...wanted.labels, ...wanted.ownLabels }),
    ...CONTROLLED_LABELS.filter((key) => wanted.ownLabels[key] === undefined),
  ]);
  const lists = {
    ...listed(PROPAGATED_LABELS_ANNOTATION, wanted.labels),
    ...listed(PROPAGATED_ANNOTATIONS_ANNOTATION, wanted.annotations),
  };
  const annotationPatch = drift(annotations, { ...wanted.annotations, ...lists }, [
    ...removable(annotations[PROPAGATED_ANNOTATIONS_ANNOTATION], { ...wanted.annotations, ...lists }),
    ...[PROPAGATED_LABELS_ANNOTATION, PROPAGATED_ANNOTATIONS_ANNOTATION].filter((key) => !(key in lists)),
  ]);
  return {
    ...(Object.keys(labelPatch).length === 0 ? {} : { labels: labelPatch }),
    ...(Object.keys(annotationPatch).length === 0 ? {} : { annotations: annotationPatch }),
  };
}

/** What of a Sandbox's own and its template's metadata a Pod gets. */
function wantedMetadata(sandbox: Sandbox) {
  const { metadata = {} } = sandbox.spec.podTemplate;
  const own = sandbox.metadata.labels ?? {};
  const owner = controllerOf(sandbox);
  const extension = owner?.apiVersion.startsWith(`${EXTENSIONS_GROUP}/`) === true ? owner.kind : undefined;
  const ownLabels: Record<string, string> = { [NAME_HASH_LABEL]: nameHash(sandbox.metadata.name) };
  const take = (label: string, when: boolean) => {
    if (when && own[label]) ownLabels[label] = own[label];
  };
  take(TEMPLATE_REF_HASH_LABEL, extension !== undefined);
  take(WARM_POOL_LABEL, extension === 'SandboxWarmPool');
  take(CLAIM_UID_LABEL, extension === 'SandboxClaim');
  const creator = own[CREATED_BY_LABEL];
  if (creator) ownLabels[CREATED_BY_LABEL] = KNOWN_CREATORS.includes(creator) ? creator : 'unknown';
  return { labels: withoutReserved(metadata.labels), ownLabels, annotations: withoutReserved(metadata.annotations) };
}

/** Keys of a pod template that never reach the Pod: the controller sets its own (contract section 1.6). */
function withoutReserved(entries: Record<string, string> = {}): Record<string, string> {
  const reserved = (key: string) =>
    key.startsWith('agents.x-k8s.io/') ||
    key.startsWith(`${EXTENSIONS_GROUP}/`) ||
    key === TRACE_CONTEXT_ANNOTATION ||
    COMMANDS.includes(key);
  return Object.fromEntries(Object.entries(entries).filter(([key]) => !reserved(key)));
}

function listed(annotation: string, entries: Record<string, string>): Record<string, string> {
  const keys = Object.keys(entries).sort();
  return keys.length === 0 ? {} : { [annotation]: keys.join(',') };
}

function drift(
  current: Record<string, string>,
  wanted: Record<string, string>,
  unwanted: string[],
): Record<string, string | null> {
  const patch: Record<string, string | null> = {};
  for (const [key, value] of Object.entries(wanted)) if (current[key] !== value) patch[key] = value;
  for (const key of unwanted) if (current[key] !== undefined) patch[key] = null;
  return patch;
}

/** Volumes of the template, those of the claim templates in place of others of the same name. */
function withClaims(sandbox: Sandbox) {
  const claims = (sandbox.spec.volumeClaimTemplates ?? []).map(({ metadata }) => ({
    name: metadata.name,
    persistentVolumeClaim: { claimName: `${metadata.name}-${sandbox.metadata.name}` },
  }));
  const { volumes = [] } = sandbox.spec.podTemplate.spec;
  return [...volumes.filter(({ name }) => !claims.some((claim) => claim.name === name)), ...claims];
}
