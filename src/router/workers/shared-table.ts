import type { PodRecord, RoutingTable } from '../table/index.ts';
import type { TableChange } from './protocol.ts';

/** A routing table that tells of each change that is made to it. */
export interface SharedTable {
  table: RoutingTable;
  /** Tells of a pod whose record was changed in place. */
  republish(pod: PodRecord): void;
  /** Everything there is, in pieces of bounded size; what changes meanwhile is told by itself. */
  pieces(): Iterable<TableChange[]>;
}

const PIECE_LENGTH = 500;

/** Wraps a table. Replacements are told as what came of them, so that whoever hears changes needs no memory of what was before. */
export function shareTable(
  table: RoutingTable,
  reasonOf: (podUid: string) => string | undefined,
  changed: (change: TableChange) => void,
): SharedTable {
  const podChange = (pod: PodRecord): TableChange => {
    const reason = reasonOf(pod.uid);
    return reason === undefined ? { pod } : { pod, reason };
  };
  return {
    republish: (pod) => changed(podChange(pod)),
    pieces: function* () {
      let piece: TableChange[] = [];
      function* full() {
        if (piece.length < PIECE_LENGTH) return;
        yield piece;
        piece = [];
      }
      for (const { sandbox } of table.routes()) {
        piece.push({ sandbox });
        yield* full();
      }
      for (const pod of table.pods()) {
        piece.push(podChange(pod));
        yield* full();
      }
      if (piece.length > 0) yield piece;
    },
    table: {
      ...table,
      upsertSandbox: (sandbox) => {
        table.upsertSandbox(sandbox);
        changed({ sandbox });
      },
      deleteSandbox: (namespace, name, uid) => {
        table.deleteSandbox(namespace, name, uid);
        changed({ goneSandbox: { namespace, name, uid } });
      },
      upsertPod: (pod) => {
        table.upsertPod(pod);
        changed(podChange(pod));
      },
      deletePod: (uid) => {
        table.deletePod(uid);
        changed({ gonePod: uid });
      },
      endReplace: (kind, namespace) => {
        const removed = table.endReplace(kind, namespace);
        for (const goneSandbox of removed.sandboxes) changed({ goneSandbox });
        for (const gonePod of removed.pods) changed({ gonePod });
        return removed;
      },
    },
  };
}
