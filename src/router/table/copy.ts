import { intern } from './intern.ts';
import type { PodRecord, SandboxRecord } from './records.ts';

/** The record of a Sandbox that came from another process: of the same shape as those that are projected here, with texts that are shared as theirs are. */
export function copySandbox(record: SandboxRecord): SandboxRecord {
  return {
    namespace: intern(record.namespace),
    name: record.name,
    uid: record.uid,
    generation: record.generation,
    resourceVersion: record.resourceVersion,
    running: record.running,
    draining: record.draining,
    pooled: record.pooled,
    port: record.port,
    protocols: record.protocols,
    wakes: record.wakes,
    redials: record.redials,
    asleep: record.asleep,
    cpuFloorMillicores: record.cpuFloorMillicores,
    idleTimeoutMs: record.idleTimeoutMs,
    timeouts: record.timeouts,
    reportedActiveMs: record.reportedActiveMs,
    ready: record.ready,
    readyReason: intern(record.readyReason),
    readyMessage: intern(record.readyMessage),
    readyGeneration: record.readyGeneration,
    suspended: record.suspended,
    finished: record.finished,
    isolated: record.isolated,
    template: intern(record.template),
    podName: record.podName === record.name ? record.name : record.podName,
    runtimeClass: intern(record.runtimeClass),
    egressClass: intern(record.egressClass),
  };
}

/** The record of a Pod that came from another process; whose its address is, the table here finds for itself. */
export function copyPod(record: PodRecord): PodRecord {
  return {
    namespace: intern(record.namespace),
    name: record.name,
    uid: record.uid,
    sandboxUid: record.sandboxUid,
    address: record.address,
    ready: record.ready,
    terminating: record.terminating,
    hostNetwork: record.hostNetwork,
    runtimeClass: intern(record.runtimeClass),
    egressClass: intern(record.egressClass),
    busy: record.busy,
    cpuActiveAtMs: record.cpuActiveAtMs,
    createdAtMs: record.createdAtMs,
    checkpointed: record.checkpointed,
    resumes: record.resumes,
    restored: record.restored,
    ownsAddress: false,
    faults: record.faults,
    suspectPorts: undefined,
  };
}
