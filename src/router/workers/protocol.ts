import type { Status } from '../../kubernetes/index.ts';
import type { RouterShare } from '../policy/index.ts';
import type { Fence } from '../sandbox-writer.ts';
import type { PodRecord, SandboxRecord } from '../table/index.ts';

/** One change of the routing table. `reason` tells why a pod is not held to its egress class. */
export type TableChange =
  | { sandbox: SandboxRecord }
  | { pod: PodRecord; reason?: string }
  | { goneSandbox: { namespace: string; name: string; uid: string } }
  | { gonePod: string };

/** What the primary knows of the cluster beside the table. */
export interface ClusterStatus {
  synced: boolean;
  policySynced: boolean;
  /** When the API server was last heard of, as an age at the time of sending. */
  ageMs: number;
  eventCount: number;
  unenforcedCount: number;
}

/** A write to a Sandbox that a worker asks for. */
export type WriteRequest =
  | {
      write: 'setRunning';
      namespace: string;
      name: string;
      running: boolean;
      fence?: Fence;
    }
  | { write: 'announcePause'; namespace: string; name: string; fence: Fence; announcement: string }
  | { write: 'annotate'; namespace: string; name: string; uid: string; annotations: Record<string, string | null> };

/** What became of a write: the generation that says so, the API's refusal, or why the API could not be asked. */
export type WriteResult = { generation: number } | { refusal: Status } | { failure: string };

/** One sandbox that a worker's requests used: those in flight now, and how long ago the last thing happened. */
export interface UsedSandbox {
  namespace: string;
  name: string;
  uid: string;
  inFlight: number;
  agoMs: number;
}

/** From the primary to a worker. */
export type ToWorker =
  | { changes: TableChange[] }
  /** All of the table was sent: what follows are changes of it. */
  | { complete: true }
  | { status: ClusterStatus }
  /** Its part of the limits that it shares with other workers, here and in other routers. */
  | { share: RouterShare }
  /** Where to take connections, together with the other workers. */
  | { listen: { host: string; port: number } }
  | { written: number; result: WriteResult }
  | { ask: 'metrics' | 'activity'; id: number }
  /** Ends the worker in an orderly way. */
  | { close: { delayMs: number } };

/** From a worker to the primary. */
export type ToPrimary =
  | ({ id: number } & WriteRequest)
  /** `suspectPods`: pods with a port that refused it of late. */
  | { used: UsedSandbox[]; suspectPods: number }
  | { answer: number; value: unknown }
  /** It listens. */
  | { listening: true }
  /** It can't, with the system's reason. */
  | { failed: { message: string; code?: string } };
