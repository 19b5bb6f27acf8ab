import type { PodRecord, SandboxRecord } from '../../../../src/router/table/index.ts';

/** The sandbox of the model, which is to run. */
export function firstSandbox(): SandboxRecord {
  return {
    namespace: 'default',
    name: 'box',
    uid: 'uid-box',
    generation: 1,
    resourceVersion: '1',
    running: true,
    draining: '',
    pooled: false,
    port: 8888,
    wakes: true,
    redials: false,
    asleep: undefined,
    idleTimeoutMs: 2000,
    cpuFloorMillicores: undefined,
    timeouts: undefined,
    reportedActiveMs: 0,
    ready: false,
    readyReason: '',
    readyMessage: '',
    readyGeneration: 0,
    suspended: false,
    finished: false,
    isolated: true,
    template: 'default/',
    podName: 'box',
    runtimeClass: '',
    egressClass: '',
  } as SandboxRecord;
}

/** A pod of it that has not started. */
export function newPod(ordinal: number, address: string): PodRecord {
  return {
    namespace: 'default',
    name: 'box',
    uid: `pod-${ordinal}`,
    sandboxUid: 'uid-box',
    address,
    ready: false,
    terminating: false,
    hostNetwork: false,
    runtimeClass: '',
    egressClass: '',
    busy: undefined,
    cpuActiveAtMs: 0,
    createdAtMs: ordinal,
    checkpointed: false,
    resumes: '',
    restored: true,
    ownsAddress: false,
    faults: 0,
    suspectPorts: undefined,
  } as unknown as PodRecord;
}
