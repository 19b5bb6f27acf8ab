import type { Timeouts } from '../../config/index.ts';
import type { AsleepRules } from './asleep-rules.ts';
import type { BusyLease } from './busy-lease.ts';
import type { PortProtocols } from './protocols.ts';

/** What the router keeps of a Sandbox: a few words instead of the object. */
export interface SandboxRecord {
  namespace: string;
  name: string;
  uid: string;
  generation: number;
  /** Of the object: a pause is fenced by it. */
  resourceVersion: string;
  running: boolean;
  /** Announcement of a router that is about to pause it, mostly empty: whoever wants to use it calls that off first. */
  draining: string;
  /** Whether an orphan of a warm pool: not reachable by name until it is claimed. */
  pooled: boolean;
  port: number;
  /** What its ports speak; undefined where all speak HTTP/1.1. */
  protocols: PortProtocols | undefined;
  wakes: boolean;
  /** Whether its WebSockets may be dialled again after a wake. */
  redials: boolean;
  /** What its owner says of calls while it is asleep; undefined where nothing. */
  asleep: AsleepRules | undefined;
  /** CPU from which on its use counts, in thousandths; undefined leaves it to the configuration, 0 is none. */
  cpuFloorMillicores: number | undefined;
  /** Pause after this time without activity: by its annotation; undefined leaves it to the configuration, 0 is never. */
  idleTimeoutMs: number | undefined;
  /** Bounds of time of its own, by its annotation; mostly undefined. */
  timeouts: Partial<Timeouts> | undefined;
  /** When any router last reported activity, milliseconds since the epoch; 0 if none did. */
  reportedActiveMs: number;
  /** Ready condition. */
  ready: boolean;
  readyReason: string;
  readyMessage: string;
  readyGeneration: number;
  suspended: boolean;
  /** It ended for good. */
  finished: boolean;
  /** Its runtime keeps it from others and from the machine, as far as it says. */
  isolated: boolean;
  /** What it was made from, as far as it tells: its template, else its namespace. Such sandboxes wake alike. */
  template: string;
  /** Name of its Pod. */
  podName: string;
  /** RuntimeClass and egress class that its pod will have; empty for none. */
  runtimeClass: string;
  egressClass: string;
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
  /** Undefined for most: work inside that nobody outside sees. */
  busy: BusyLease | undefined;
  /** When it last used more CPU than its floor, as the engine says, in milliseconds of the epoch; 0 for never. */
  cpuActiveAtMs: number;
  createdAtMs: number;
  /** Its memory was kept in the end, by whoever ran it. */
  checkpointed: boolean;
  /** UID of the pod whose memory, address and connections it goes on with; empty for none. */
  resumes: string;
  /** Whether it goes on from a snapshot, under whatever address. */
  restored: boolean;
  /** Whether no younger pod claims its address: kept by the table, false until it is in one. */
  ownsAddress: boolean;
  /** Why policy keeps requests away, as bits that policy/ knows; 0 for nothing. Kept by whoever feeds the table. */
  faults: number;
  /** Ports that refused a dial since its last fresh record, each with the monotonic milliseconds until which nobody asks it again; mostly undefined. */
  suspectPorts: Map<number, number> | undefined;
}

/** One sandbox as requests see it. */
export interface Route {
  sandbox: SandboxRecord;
  pod: PodRecord | undefined;
  activity: RouteActivity;
  /** This process is about to pause it; mostly undefined. */
  pausing: PauseUnderWay | undefined;
}

/** A pause that may yet be called off. */
export interface PauseUnderWay {
  /** How it is announced to other routers. */
  announcement: string;
  /** Calls it off, unless the API has been asked already; resolves with whether the sandbox was paused. */
  callOff(): Promise<boolean>;
  /** The same without calling it off. */
  settled: Promise<boolean>;
  /** Whether the API has been asked: nothing may be sent to the pod any more. */
  isAsked(): boolean;
}

/** What used a sandbox: never a query, a header or a body. */
export interface UseOrigin {
  via: 'request';
  credential: string;
  method: string;
  /** Without its query. */
  path: string;
}

/** What this router itself knows of a sandbox's use. Written on every request, so it is plain numbers beside the route. */
export interface RouteActivity {
  /** Requests that wait for their answer. */
  inFlight: number;
  /** How many of them are no use of it. */
  quiet: number;
  /** When something last happened, on the monotonic clock; 0 for never. */
  lastMs: number;
  /** When its use was last reported by any router, or word came of another pod, on the monotonic clock; 0 for not since this router knows everything. */
  heardMs: number;
  /** When word came that it uses CPU, on the same clock; 0 for never. */
  cpuMs: number;
  /** When its use was last reported by any router, on the same clock. */
  reportedMs: number;
  /** Whether it is in the tracker's list of those used since the last report. */
  listed: boolean;
  /** What was the first to use it in the latest interval in which something did; undefined where that was elsewhere. */
  usedBy: UseOrigin | undefined;
}
