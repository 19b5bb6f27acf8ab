/** Labels, annotations and condition types: upstream's (contract section 1.6) and ours. */

/** Label on Pods, Services and PVCs of a Sandbox: {@link nameHash} of the Sandbox's name. */
export const NAME_HASH_LABEL = 'agents.x-k8s.io/sandbox-name-hash';
/** Label on a Sandbox and its Pod while a warm pool owns it. */
export const WARM_POOL_LABEL = 'agents.x-k8s.io/warm-pool-sandbox';
/** Label on Sandboxes and Pods made from a template: {@link nameHash} of the template's name. */
export const TEMPLATE_REF_HASH_LABEL = 'agents.x-k8s.io/sandbox-template-ref-hash';
/** Label on a Sandbox (and, while a claim owns it, its Pod): UID of the claim. */
export const CLAIM_UID_LABEL = 'agents.x-k8s.io/claim-uid';
/** Label on a Sandbox and its Pod: what kind of client made it. */
export const CREATED_BY_LABEL = 'agents.x-k8s.io/created-by';
/** Label `true` on a Pod, Service or PersistentVolumeClaim without an owner lets a Sandbox of that name take it over. */
export const ADOPTABLE_LABEL = 'agents.x-k8s.io/adoptable';
/** Annotations on a Pod: which label and annotation keys came from the Sandbox's template (sorted, with commas). */
export const PROPAGATED_LABELS_ANNOTATION = 'agents.x-k8s.io/propagated-labels';
export const PROPAGATED_ANNOTATIONS_ANNOTATION = 'agents.x-k8s.io/propagated-annotations';
/** Annotation with W3C trace headers; stays on the Sandbox. */
export const TRACE_CONTEXT_ANNOTATION = 'opentelemetry.io/trace-context';
/** API group of claims, templates and warm pools. */
export const EXTENSIONS_GROUP = 'extensions.agents.x-k8s.io';
/** Annotation on a Sandbox that names its Pod when the Pod's name differs. */
export const POD_NAME_ANNOTATION = 'agents.x-k8s.io/pod-name';

/** Label on a Sandbox: `warm` from a pool, `cold` made for its claim. */
export const LAUNCH_TYPE_LABEL = 'agents.x-k8s.io/launch-type';
/** Label on a Sandbox in a pool: hash of the blueprint that it was made from; the other one is its deprecated sibling. */
export const TEMPLATE_HASH_LABEL = 'agents.x-k8s.io/sandbox-template-hash';
export const POD_TEMPLATE_HASH_LABEL = 'agents.x-k8s.io/sandbox-pod-template-hash';
/** Annotation on a Sandbox: name of its template. */
export const TEMPLATE_REF_ANNOTATION = 'agents.x-k8s.io/sandbox-template-ref';
/** Annotation (formerly a label) on a claim: the Sandbox that it chose. */
export const SANDBOX_NAME_ANNOTATION = 'agents.x-k8s.io/sandbox-name';
/** Annotations on a claim: when the controller first saw it, and when it was first Ready (RFC 3339). */
export const FIRST_OBSERVED_ANNOTATION = 'agents.x-k8s.io/controller-first-observed-at';
export const FIRST_READY_ANNOTATION = 'agents.x-k8s.io/claim-first-ready-at';
/** Annotation on Pods in a pool: an autoscaler may take their node away. */
export const SAFE_TO_EVICT_ANNOTATION = 'cluster-autoscaler.kubernetes.io/safe-to-evict';

/** Annotation on a Sandbox: the port that its URL reaches when the URL names none. */
export const PORT_ANNOTATION = 'sandbox-router/port';
/** Annotation on a Sandbox: what its ports speak, `h2c`, `https` or `h2`, or some of them, as in `50051=h2c`. */
export const PROTOCOL_ANNOTATION = 'sandbox-router/protocol';
/** Annotation on a Sandbox: `never` keeps requests from waking it. */
export const WAKE_ANNOTATION = 'sandbox-router/wake';
/** Annotation on a Sandbox: quiet intents (`prefetch`, `head`, …) that wake it and count as use all the same; `all` for every one. */
export const WAKE_ON_ANNOTATION = 'sandbox-router/wake-on';
/** Annotation on a Sandbox: `true` lets its WebSockets sleep where addresses change: the handshake is made again with the Pod that it wakes as. */
export const REDIAL_ANNOTATION = 'sandbox-router/redial-websockets';
/** Annotation on a Sandbox: JSON of fixed answers by path, given while it is asleep. */
export const ASLEEP_ANSWER_ANNOTATION = 'sandbox-router/asleep-answer';
/** Annotation on a Sandbox: pause after this time without activity (`10m`; `never`). */
export const IDLE_TIMEOUT_ANNOTATION = 'sandbox-router/idle-timeout';
/** Annotation on a Sandbox: bounds of time for its requests (`responseHeader=10m,request=30s`). */
export const TIMEOUTS_ANNOTATION = 'sandbox-router/timeouts';
/** Name of the Lease by which routers choose the one that pauses idle sandboxes. */
export const IDLE_LEASE_NAME = 'sandbox-router-idle';
/** Leases by which routers count each other: this and a number below {@link REPLICA_SLOTS}, so that RBAC can name them. */
export const REPLICA_LEASE_PREFIX = 'sandbox-router-replica-';
/** Routers that can be counted. */
export const REPLICA_SLOTS = 32;
/**
 * Annotations on a Pod: its busy lease, which keeps the Sandbox awake until then (RFC 3339, an hour ahead at most) although nobody calls, and why. Set
 * for the code inside by whoever runs it.
 */
export const BUSY_UNTIL_ANNOTATION = 'sandbox-router/busy-until';
export const BUSY_WHY_ANNOTATION = 'sandbox-router/busy-why';
/** Annotation on a Pod: port on which it answers `GET /busy` as the toolbox's agent does. The engine asks there. */
export const BUSY_PORT_ANNOTATION = 'sandbox-router/busy-port';
/** Annotation on a Sandbox: when it was last used (RFC 3339), as the routers report it: at most once in their activity interval. */
export const LAST_ACTIVE_ANNOTATION = 'sandbox-router/last-active';
/** Annotation on an Event of a Sandbox: what its message says, as JSON for programs. */
export const LEDGER_ANNOTATION = 'sandbox-router/ledger';
/** Annotation on a Sandbox: CPU (`100m`, `0.5`; `0` for none) from which on its use counts as use of the sandbox. */
export const IDLE_CPU_FLOOR_ANNOTATION = 'sandbox-router/idle-cpu-floor';
/** Annotation on a Pod: when it last used more CPU than that (RFC 3339). Written by the engine; elsewhere the metrics API tells. */
export const CPU_ACTIVE_ANNOTATION = 'sandbox-router/cpu-active';
/** Annotation on a Sandbox: a router is about to pause it (since when, as RFC 3339, and a random word). Whoever uses it takes the annotation off, and with that calls the pause off. */
export const DRAINING_ANNOTATION = 'sandbox-router/draining';
/** Label on a Pod: its egress class. */
export const EGRESS_LABEL = 'sandbox-router/egress';
/** Annotation on a Pod: DNS names that it may call (`api.example.com, *.example.org:443`), besides what its NetworkPolicies allow. The engine follows it. */
export const EGRESS_NAMES_ANNOTATION = 'sandbox-router/egress-allow-names';

/** Annotation on a Sandbox: id of the snapshot that its next start restores. Written by the Sandbox controller. */
export const SNAPSHOT_ANNOTATION = 'sandbox-router/snapshot';
/** Annotation on a Sandbox: `allow` lets it start cold when its snapshot can't be restored; anything else keeps it stopped. */
export const COLD_START_ANNOTATION = 'sandbox-router/cold-start';
/**
 * Annotation on a Pod: a checkpoint is asked for; the value tells one request from the next (the Sandbox's generation). Answered by
 * {@link CHECKPOINTED_CONDITION}. The snapshot's id is the Pod's UID.
 */
export const CHECKPOINT_ANNOTATION = 'sandbox-router/checkpoint';
/** Annotation on a Pod: start by restoring this snapshot. */
export const RESTORE_ANNOTATION = 'sandbox-router/restore-from';
/** Pod condition: Unknown while a checkpoint is being taken; True once it is durable and the processes are stopped; False (with the cause) if it failed and the Pod runs on. */
export const CHECKPOINTED_CONDITION = 'sandbox-router/Checkpointed';

/**
 * Pod condition: True on a Pod that goes on where the Pod ended whose UID {@link RESTORE_ANNOTATION} names: from its last memory, at its address, which nobody
 * else had meanwhile. Connections to that Pod are connections to this one.
 */
export const RESUMED_CONDITION = 'sandbox-router/Resumed';

/** Annotation on a Pod, a podTemplate or a claim's pod metadata: the PodSnapshot to start from instead of the latest (contract section 4.5). */
export const SNAPSHOT_NAME_ANNOTATION = 'podsnapshot.gke.io/ps-name';
/** Annotation on a PodSnapshot: the Pod that it was taken of (contract section 4.5). */
export const ORIGIN_POD_ANNOTATION = 'podsnapshot.gke.io/origin-pod';
/** Pod condition: True once it goes on from a PodSnapshot, which the message names; False with the cause if it could not (contract section 4.5). */
export const POD_RESTORED_CONDITION = 'PodRestored';
/** Pod: it stands for a program that whoever runs the node's Pods does not run as one (a kubelet's static Pods). */
export const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';
/** Annotation on a SandboxTemplate: `true` lets its pools' members start as copies of one member's memory. */
export const CLONE_ANNOTATION = 'sandbox-router/clone-from-snapshot';
/** Annotation on a Sandbox that a pool made: id of the template's snapshot that its Pod starts as a copy of. Written by the pool's controller. */
export const CLONE_OF_ANNOTATION = 'sandbox-router/clone-of';
/** Annotation on a Pod or podTemplate: `[:port]/path` that is told, by an HTTP POST, when the Pod's processes have become a copy's. */
export const CLONE_HOOK_ANNOTATION = 'sandbox-router/clone-hook';
/** Annotation on a Pod or podTemplate: `flate` makes its snapshots smaller and slower. */
export const SNAPSHOT_COMPRESSION_ANNOTATION = 'sandbox-router/snapshot-compression';

/** FNV-1a 32 of a name as 8 lowercase hex digits (contract section 2.1). */
export function nameHash(name: string): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

/** Pod condition: whether `resources.limits` are kept. Absent where there are none. */
export const LIMITS_ENFORCED_CONDITION = 'sandbox-router/LimitsEnforced';

/** Condition on a Sandbox, False where its runtime does not isolate it. */
export const ISOLATED_CONDITION = 'sandbox-router/Isolated';
