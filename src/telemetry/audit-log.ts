/** Who did what, and what came of it. No paths, no queries, no headers: they carry secrets. */
export interface AuditRecord {
  /** `reached`, `woke`, `refused`, or an act by the control API such as `paused`, `claimed`. */
  action: string;
  tenant?: string | undefined;
  /** Public name of the credential. */
  credential?: string | undefined;
  /** Address of the client's connection. */
  client?: string | undefined;
  namespace?: string | undefined;
  sandbox?: string | undefined;
  claim?: string | undefined;
  /** Problem code of a refusal, and why in words. */
  code?: string | undefined;
  reason?: string | undefined;
  requestId?: string | undefined;
}

/** Writes what is to be known afterwards. */
export interface AuditLog {
  /** One line for this act. */
  act(record: AuditRecord): void;
  /** Of what comes often: the first at once, what is the same as a number once a minute. Takes its parts one by one, as it is called on every request. */
  often(
    action: 'reached' | 'refused',
    tenant: string | undefined,
    credential: string | undefined,
    namespace: string | undefined,
    sandbox: string | undefined,
    more: Pick<AuditRecord, 'code' | 'client' | 'reason' | 'requestId'> | undefined,
  ): void;
  /** Writes the numbers. */
  settle(): void;
}

/** What repeats are told of once in this time. */
export const AUDIT_INTERVAL_MS = 60_000;
/** Different acts of which repeats are counted; with more, all are told and counting starts again. */
const MOST_KINDS = 10_000;

/** An audit log over lines. */
export function createAuditLog(write: (line: string) => void, now: () => Date): AuditLog {
  const repeats = new Map<string, { record: AuditRecord; count: number }>();

  function settle(): void {
    for (const { record, count } of repeats.values()) if (count > 0) line({ ...record, requestId: undefined }, count);
    repeats.clear();
  }

  function line(record: AuditRecord, count?: number): void {
    write(JSON.stringify({ time: now().toISOString(), ...record, ...(count === undefined ? {} : { count }) }));
  }

  return {
    act: (record) => line(record),
    often: (action, tenant, credential, namespace, sandbox, more) => {
      const key = `${action} ${tenant} ${credential} ${namespace}/${sandbox} ${more?.code} ${more?.client}`;
      const known = repeats.get(key);
      if (known !== undefined) {
        known.count++;
        return;
      }
      if (repeats.size >= MOST_KINDS) settle();
      const record = { action, tenant, credential, namespace, sandbox, ...more };
      repeats.set(key, { record, count: 0 });
      line(record);
    },
    settle,
  };
}
