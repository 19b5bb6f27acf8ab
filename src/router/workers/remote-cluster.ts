import { ApiError, type ObjectKey } from '../../kubernetes/index.ts';
import type { ClusterView } from '../cluster.ts';
import type { SandboxWriter } from '../sandbox-writer.ts';
import { copyPod, copySandbox, createRoutingTable, type RoutingTable } from '../table/index.ts';
import type { Channel } from './channel.ts';
import type { ClusterStatus, TableChange, ToPrimary, ToWorker, WriteRequest, WriteResult } from './protocol.ts';

/** A cluster that another process follows. */
export interface RemoteCluster extends ClusterView {
  /** Resolves when all that the other process knew at first is known here, and it was everything. */
  complete: Promise<void>;
  /** Resolves with the first word about how things are. */
  status: Promise<ClusterStatus>;
}

/** The cluster as the primary tells of it, and writes to it through the primary. */
export function createRemoteCluster(channel: Channel<ToWorker, ToPrimary>): RemoteCluster {
  const table = createRoutingTable();
  const reasons = new Map<string, string>();
  const firstStatus = Promise.withResolvers<ClusterStatus>();
  const complete = Promise.withResolvers<void>();
  let status: ClusterStatus = { synced: false, policySynced: false, ageMs: 0, eventCount: 0, unenforcedCount: 0 };
  let statusAtMs = performance.now();
  let isComplete = false;

  channel.onMessage((message) => {
    if ('changes' in message) for (const change of message.changes) apply(table, reasons, change);
    else if ('status' in message) {
      status = message.status;
      statusAtMs = performance.now();
      firstStatus.resolve(status);
    } else if ('complete' in message) {
      isComplete = true;
      complete.resolve();
    }
  });
  return {
    table,
    writer: createRemoteWriter(channel),
    isSynced: () => status.synced && isComplete,
    isPolicySynced: () => status.policySynced,
    ageMs: () => status.ageMs + performance.now() - statusAtMs,
    eventCount: () => status.eventCount,
    unenforcedReason: (podUid) => reasons.get(podUid),
    unenforcedCount: () => status.unenforcedCount,
    complete: complete.promise,
    status: firstStatus.promise,
  };
}

function apply(table: RoutingTable, reasons: Map<string, string>, change: TableChange): void {
  if ('pod' in change) {
    if (change.reason === undefined) reasons.delete(change.pod.uid);
    else reasons.set(change.pod.uid, change.reason);
    table.upsertPod(copyPod(change.pod));
  } else if ('sandbox' in change) table.upsertSandbox(copySandbox(change.sandbox));
  else if ('gonePod' in change) {
    reasons.delete(change.gonePod);
    table.deletePod(change.gonePod);
  } else {
    const { namespace, name, uid } = change.goneSandbox;
    table.deleteSandbox(namespace, name, uid);
  }
}

/** Writes that the primary does, one for many workers that ask for the same. */
function createRemoteWriter(channel: Channel<ToWorker, ToPrimary>): SandboxWriter {
  const waiting = new Map<number, (result: WriteResult) => void>();
  let next = 1;
  channel.onMessage((message) => {
    if (!('written' in message)) return;
    waiting.get(message.written)?.(message.result);
    waiting.delete(message.written);
  });

  async function write(request: WriteRequest): Promise<number> {
    const id = next++;
    const result = await new Promise<WriteResult>((resolve) => {
      waiting.set(id, resolve);
      channel.send({ id, ...request });
    });
    if ('generation' in result) return result.generation;
    throw 'refusal' in result ? new ApiError(result.refusal) : new Error(result.failure);
  }

  return {
    setRunning: ({ namespace = '', name }: ObjectKey, running, fence) =>
      write({ write: 'setRunning', namespace, name, running, ...(fence === undefined ? {} : { fence }) }),
    announcePause: async ({ namespace = '', name }: ObjectKey, fence, announcement) => {
      await write({ write: 'announcePause', namespace, name, fence, announcement });
    },
    annotate: async ({ namespace = '', name }: ObjectKey, uid, annotations) => {
      await write({ write: 'annotate', namespace, name, uid, annotations });
    },
  };
}
