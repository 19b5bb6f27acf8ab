/** Keeps the books of bytes for one exchange. */
export interface Pacer {
  /** So many bytes went through; returns for how many milliseconds nothing more should. */
  spend(bytes: number, nowMs: number): number;
}

/** What pays for bytes: one time, up to which all that went through is paid for. */
export interface ByteAccount {
  bytesPaidAtMs: number;
}

/** What may go through at once after a silence: this much time's worth. */
const BURST_MS = 1000;

/** A pacer over accounts and their rates; undefined if no rate bounds anything, so that nobody else pays for it. */
export function createPacer(accounts: readonly (readonly [ByteAccount, bytesPerSecond: number])[]): Pacer | undefined {
  const bounded = accounts.filter(([, bytesPerSecond]) => bytesPerSecond !== Number.POSITIVE_INFINITY);
  if (bounded.length === 0) return undefined;
  return {
    spend: (bytes, nowMs) => {
      let waitMs = 0;
      for (const [account, bytesPerSecond] of bounded) {
        account.bytesPaidAtMs = Math.max(account.bytesPaidAtMs, nowMs - BURST_MS) + (bytes / bytesPerSecond) * 1000;
        waitMs = Math.max(waitMs, account.bytesPaidAtMs - nowMs);
      }
      return waitMs;
    },
  };
}
