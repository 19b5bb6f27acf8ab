import { RuntimeError } from '../../runtime/index.ts';

/** Why a container waits, by what kept it from being made, in the words of a kubelet. */
const WAITING_REASONS: Readonly<Record<string, string>> = {
  pod_config: 'CreateContainerConfigError',
};

/** Whether a start failed because of its snapshot, so that trying again is of no use. */
export function isSnapshotsFault(error: unknown): error is RuntimeError {
  return error instanceof RuntimeError && (error.code === 'snapshot_corrupt' || error.code === 'snapshot_incompatible');
}

/** Why a container waits that could not be made, for its status. */
export function waitingReason(error: unknown): string {
  return WAITING_REASONS[(error as { code?: string }).code ?? ''] ?? 'CreateContainerError';
}
