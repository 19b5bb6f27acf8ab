import type { LabelSelector } from './label-selector.ts';

/** The parts of Kubernetes objects that the router and the engine read or write; anything else passes through untouched. */

/** Standard object metadata. Times are RFC 3339 strings. */
export interface ObjectMeta {
  name: string;
  namespace?: string;
  generateName?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  finalizers?: string[];
  managedFields?: unknown[];
}

/** A reference from a dependent object to its owner; at most one has `controller: true`. */
export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** Any API object. */
export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** metav1.Condition. `lastTransitionTime` moves only when `status` flips. */
export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason?: string;
  message?: string;
  observedGeneration?: number;
  lastTransitionTime?: string;
}

/** Labels and annotations that a Sandbox hands to its Pod, and the Pod's spec (contract section 1.1). */
export interface PodTemplate {
  metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
  spec: PodSpec;
}

/** agents.x-k8s.io/v1beta1 Sandbox (contract section 1.1). */
export interface Sandbox extends KubernetesObject {
  spec: {
    podTemplate: PodTemplate;
    volumeClaimTemplates?: VolumeClaimTemplate[];
    service?: boolean;
    shutdownTime?: string;
    shutdownPolicy?: 'Delete' | 'Retain';
    operatingMode?: 'Running' | 'Suspended';
  };
  status?: {
    serviceFQDN?: string;
    service?: string;
    conditions?: Condition[];
    selector?: string;
    podIPs?: string[];
    nodeName?: string;
  };
}

/** A claim for storage, stamped out once per Sandbox. */
export interface VolumeClaimTemplate {
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  spec: Record<string, unknown>;
}

/** A declared container port. */
export interface ContainerPort {
  name?: string;
  containerPort: number;
  protocol?: 'TCP' | 'UDP' | 'SCTP';
}

/** An environment variable: a literal or a reference. */
export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: {
    fieldRef?: { fieldPath: string };
    secretKeyRef?: { name: string; key: string; optional?: boolean };
    configMapKeyRef?: { name: string; key: string; optional?: boolean };
  };
}

/** An HTTP request to a container. */
export interface HttpGetAction {
  path?: string;
  port: number | string;
  scheme?: string;
  httpHeaders?: { name: string; value: string }[];
}

/** Amounts as Kubernetes writes them, `500m` or `1Gi`. Clients may send whole numbers as such. */
export interface ResourceRequirements {
  limits?: Record<string, string>;
  requests?: Record<string, string>;
}

/** What a container does at a turn of its life; exactly one of the actions is set. */
export interface LifecycleHandler {
  exec?: { command: string[] };
  httpGet?: HttpGetAction;
  sleep?: { seconds: number };
  tcpSocket?: { port: number | string };
}

/** A probe; exactly one of the actions is set. Times in seconds as Kubernetes has them. */
export interface Probe {
  httpGet?: HttpGetAction;
  tcpSocket?: { port: number | string };
  exec?: { command: string[] };
  grpc?: { port: number; service?: string };
  terminationGracePeriodSeconds?: number;
  initialDelaySeconds?: number;
  periodSeconds?: number;
  timeoutSeconds?: number;
  failureThreshold?: number;
  successThreshold?: number;
}

/** A container of a Pod. */
export interface Container {
  name: string;
  image: string;
  imagePullPolicy?: string;
  command?: string[];
  args?: string[];
  workingDir?: string;
  env?: EnvVar[];
  envFrom?: {
    prefix?: string;
    secretRef?: { name: string; optional?: boolean };
    configMapRef?: { name: string; optional?: boolean };
  }[];
  ports?: ContainerPort[];
  readinessProbe?: Probe;
  livenessProbe?: Probe;
  startupProbe?: Probe;
  lifecycle?: { postStart?: LifecycleHandler; preStop?: LifecycleHandler };
  restartPolicy?: string;
  resources?: ResourceRequirements;
  securityContext?: Record<string, unknown>;
  volumeMounts?: { name: string; mountPath: string; subPath?: string; readOnly?: boolean }[];
}

/** A Pod's spec. */
export interface PodSpec {
  containers: Container[];
  initContainers?: Container[];
  restartPolicy?: 'Always' | 'OnFailure' | 'Never';
  runtimeClassName?: string;
  nodeName?: string;
  hostname?: string;
  hostNetwork?: boolean;
  terminationGracePeriodSeconds?: number;
  automountServiceAccountToken?: boolean;
  dnsPolicy?: string;
  dnsConfig?: { nameservers?: string[] };
  volumes?: ({ name: string } & Record<string, unknown>)[];
  securityContext?: Record<string, unknown>;
  imagePullSecrets?: { name: string }[];
  resources?: ResourceRequirements;
}

/** What the kubelet says of one container. */
export interface ContainerStatus {
  name: string;
  ready: boolean;
  restartCount: number;
  image: string;
  imageID: string;
  containerID?: string;
  started?: boolean;
  state?: {
    waiting?: { reason?: string; message?: string };
    running?: { startedAt?: string };
    terminated?: { exitCode: number; reason?: string; message?: string; startedAt?: string; finishedAt?: string };
  };
  lastState?: ContainerStatus['state'];
}

/** v1 Pod. */
export interface Pod extends KubernetesObject {
  spec: PodSpec;
  status?: {
    phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
    conditions?: Condition[];
    podIP?: string;
    podIPs?: { ip: string }[];
    hostIP?: string;
    startTime?: string;
    reason?: string;
    message?: string;
    containerStatuses?: ContainerStatus[];
    initContainerStatuses?: ContainerStatus[];
  };
}

/** A port of a Service. */
export interface ServicePort {
  name?: string;
  protocol?: 'TCP' | 'UDP' | 'SCTP';
  port: number;
  targetPort?: number | string;
}

/** v1 Service. */
export interface Service extends KubernetesObject {
  spec: { clusterIP?: string; selector?: Record<string, string>; ports?: ServicePort[] };
}

/** v1 ConfigMap. `binaryData` is base64. */
export interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
  binaryData?: Record<string, string>;
}

/** v1 Secret. `data` is base64. */
export interface Secret extends KubernetesObject {
  data?: Record<string, string>;
}

/** v1 PersistentVolumeClaim. */
export interface PersistentVolumeClaim extends KubernetesObject {
  spec: Record<string, unknown>;
}

/** v1 Status: the body of every API error (and of a successful delete). */
export interface Status {
  apiVersion: 'v1';
  kind: 'Status';
  metadata: Record<string, never>;
  status: 'Success' | 'Failure';
  message?: string;
  reason?: string;
  code: number;
  details?: {
    name?: string;
    group?: string;
    kind?: string;
    uid?: string;
    causes?: { reason?: string; message?: string; field?: string }[];
    retryAfterSeconds?: number;
  };
}

/** coordination.k8s.io/v1 Lease. Times are RFC 3339 with microseconds. */
export interface Lease extends KubernetesObject {
  spec: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

/** v1 Namespace, as far as its labels go. */
export type Namespace = KubernetesObject;

/** v1 Node. Quantities as Kubernetes writes them: `3920m`, `16Gi`. */
export interface Node extends KubernetesObject {
  spec?: { unschedulable?: boolean; taints?: { key: string; value?: string; effect: string }[] };
  status?: {
    allocatable?: Record<string, string>;
    conditions?: Condition[];
    nodeInfo?: { architecture?: string };
  };
}

/** node.k8s.io/v1 RuntimeClass. */
export interface RuntimeClass extends KubernetesObject {
  handler: string;
  overhead?: { podFixed?: Record<string, string> };
  scheduling?: { nodeSelector?: Record<string, string> };
}

/** Who is at the other end of a NetworkPolicy's rule. */
export interface NetworkPolicyPeer {
  podSelector?: LabelSelector;
  namespaceSelector?: LabelSelector;
  ipBlock?: { cidr: string; except?: string[] };
}

/** Ports of a NetworkPolicy's rule; all without `port`. */
export interface NetworkPolicyPort {
  protocol?: 'TCP' | 'UDP' | 'SCTP';
  port?: number | string;
  endPort?: number;
}

/** networking.k8s.io/v1 NetworkPolicy. */
export interface NetworkPolicy extends KubernetesObject {
  spec: {
    podSelector: LabelSelector;
    policyTypes?: string[];
    ingress?: { from?: NetworkPolicyPeer[]; ports?: NetworkPolicyPort[] }[];
    egress?: { to?: NetworkPolicyPeer[]; ports?: NetworkPolicyPort[] }[];
  };
}

/** extensions.agents.x-k8s.io/v1beta1 SandboxTemplate (contract section 1.2). */
export interface SandboxTemplate extends KubernetesObject {
  spec: {
    podTemplate: PodTemplate;
    volumeClaimTemplates?: VolumeClaimTemplate[];
    service?: boolean;
    networkPolicy?: { ingress?: NetworkPolicy['spec']['ingress']; egress?: NetworkPolicy['spec']['egress'] };
    networkPolicyManagement?: 'Managed' | 'Unmanaged';
    envVarsInjectionPolicy?: 'Allowed' | 'Overrides' | 'Disallowed';
    volumeClaimTemplatesPolicy?: 'Allowed' | 'Overrides' | 'Disallowed';
  };
}

/** extensions.agents.x-k8s.io/v1beta1 SandboxClaim (contract section 1.3). */
export interface SandboxClaim extends KubernetesObject {
  spec: {
    warmPoolRef: { name: string };
    lifecycle?: {
      shutdownTime?: string;
      ttlSecondsAfterFinished?: number;
      shutdownPolicy?: 'Delete' | 'DeleteForeground' | 'Retain';
    };
    additionalPodMetadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
    env?: { name: string; value: string; containerName?: string }[];
    volumeClaimTemplates?: VolumeClaimTemplate[];
  };
  status?: { conditions?: Condition[]; sandbox?: { name?: string; podIPs?: string[] } };
}

/** extensions.agents.x-k8s.io/v1beta1 SandboxWarmPool (contract section 1.4). */
export interface SandboxWarmPool extends KubernetesObject {
  spec: {
    replicas?: number;
    sandboxTemplateRef: { name: string };
    updateStrategy?: { type?: 'Recreate' | 'OnReplenish' };
  };
  status?: { replicas?: number; readyReplicas?: number; selector?: string; observedGeneration?: number };
}

/** podsnapshot.gke.io/v1 PodSnapshot: a memory snapshot of a Pod. */
export interface PodSnapshot extends KubernetesObject {
  status?: {
    conditions?: Condition[];
    /** Where the engine keeps it, and how large it is; absent elsewhere. */
    storage?: { id: string; sizeBytes: number };
    /** What it can be restored with; absent elsewhere. */
    compatibility?: { runtime: string; cpuFeaturesHash: string; image: string; templateRevision: string };
  };
}

/** podsnapshot.gke.io/v1 PodSnapshotManualTrigger: asks for one snapshot of one Pod (contract section 4.5). */
export interface PodSnapshotManualTrigger extends KubernetesObject {
  spec: { targetPod: string };
  status?: { conditions?: Condition[]; snapshotCreated?: { name?: string } };
}

/** podsnapshot.gke.io/v1 PodSnapshotPolicy: which Pods may have snapshots, and where they go. */
export interface PodSnapshotPolicy extends KubernetesObject {
  spec: {
    storageConfigName?: string;
    selector?: LabelSelector;
    snapshotGroupingRules?: {
      groupByLabelValue?: { labels?: string[] };
      groupRetentionPolicy?: { maxSnapshotCountPerGroup?: number };
    };
  };
  status?: { conditions?: Condition[] };
}
