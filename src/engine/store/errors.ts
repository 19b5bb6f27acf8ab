/**
 * A write or read that the store refuses. Codes: `conflict` (the object is not at the expected revision), `expired` (that revision is
 * older than the history kept), `closed`, `too_large` (no object may take so
 * much room), `write_failed` (the disk refused; nothing was acknowledged).
 */
export class StoreError extends Error {
  readonly code: 'conflict' | 'expired' | 'closed' | 'too_large' | 'write_failed';

  constructor(code: StoreError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StoreError';
    this.code = code;
  }
}
