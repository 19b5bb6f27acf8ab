import type { PodRecord, SandboxRecord } from '../table/index.ts';
import type { PolicySettings } from './policy.ts';

/** Why policy keeps requests from a pod: bits of `PodRecord.faults`. */
export const FAULTS = {
  /** It names a RuntimeClass that is not allowed. */
  runtimeNotAllowed: 1,
  /** It names no RuntimeClass, and must. */
  runtimeUnnamed: 2,
  /** It has no egress class, and must. */
  egressUnlabelled: 4,
  /** No NetworkPolicy holds it to its egress class, and one must. */
  egressUnenforced: 8,
} as const;

/** Faults that can be told from what a pod, or a sandbox that has none yet, says of itself. */
export function declaredFaults(
  settings: PolicySettings,
  { runtimeClass, egressClass }: Pick<PodRecord | SandboxRecord, 'runtimeClass' | 'egressClass'>,
): number {
  let faults = 0;
  if (settings.runtimeRequire !== 'off') {
    if (runtimeClass !== '' && !settings.runtimeClasses.includes(runtimeClass)) faults |= FAULTS.runtimeNotAllowed;
    if (runtimeClass === '' && settings.runtimeRequire === 'always') faults |= FAULTS.runtimeUnnamed;
  }
  if (egressClass === '' && settings.egressRequired) faults |= FAULTS.egressUnlabelled;
  return faults;
}
