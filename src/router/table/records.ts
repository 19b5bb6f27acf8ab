/** What the router keeps of a Sandbox: a few words instead of the object. */
export interface SandboxRecord {
  namespace: string;
  name: string;
  uid: string;
  generation: number;
  running: boolean;
  /** Whether an orphan of a warm pool: not reachable by name until it is claimed. */
  pooled: boolean;
  port: number;
  wakes: boolean;
  /** Ready condition. */
  ready: boolean;
  readyReason: string;
  readyMessage: string;
  readyGeneration: number;
  suspended: boolean;
  /** It ended for good. */
  finished: boolean;
  /** Name of its Pod. */
  podName: string;
}

/** What the router keeps of a Pod. */
export interface PodRecord {
  namespace: string;
  name: string;
  uid: string;
  /** UID of the Sandbox that controls it. */
  sandboxUid: string;
  address: string;
  ready: boolean;
  terminating: boolean;
  hostNetwork: boolean;
  runtimeClass: string;
  egressClass: string;
  createdAtMs: number;
}

/** One sandbox as requests see it. */
export interface Route {
  sandbox: SandboxRecord;
  pod: PodRecord | undefined;
}
