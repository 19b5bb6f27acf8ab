import type { PodRecord, SandboxRecord } from '../../../../src/router/table/index.ts';
import { podRecord, sandboxRecord } from '../../../support/route-records.ts';

/** The sandbox of the model, which is to run. */
export function firstSandbox(): SandboxRecord {
  return sandboxRecord('box', { idleTimeoutMs: 2000, ready: false, readyGeneration: 0 });
}

/** A pod of it that has not started. */
export function newPod(ordinal: number, address: string): PodRecord {
  return podRecord('box', `pod-${ordinal}`, address, { ready: false, egressClass: '', createdAtMs: ordinal });
}
