/** Reasons for which a claim gets no sandbox (contract section 1.5). */
export type RejectionReason =
  | 'TemplateNotFound'
  | 'WarmPoolNotFound'
  | 'AdoptionConflict'
  | 'SandboxCreatePending'
  | 'InvalidMetadata'
  | 'EnvVarsInjectionRejected'
  | 'VolumeClaimTemplatesError'
  | 'SandboxMissing'
  | 'ReconcilerError';

/** A claim that can't be served as things are. `code` becomes the reason of its Ready condition; `retryMs` says when to look again. */
export class ClaimRejectedError extends Error {
  readonly code: RejectionReason;
  readonly retryMs: number | undefined;

  constructor(code: RejectionReason, message: string, retryMs?: number) {
    super(message);
    this.code = code;
    this.retryMs = retryMs;
  }
}
