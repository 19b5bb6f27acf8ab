import type { PodRecord, SandboxRecord } from '../../src/router/table/index.ts';

/** What the routing table keeps of a Sandbox that runs and is Ready; its UID is `uid-<name>`. */
export function sandboxRecord(name: string, more: Partial<SandboxRecord> = {}): SandboxRecord {
  return {
    namespace: 'default',
    name,
    uid: `uid-${name}`,
    generation: 1,
    resourceVersion: '1',
    running: true,
    draining: '',
    pooled: false,
    port: 8888,
    wakes: true,
    redials: false,
    asleep: undefined,
    idleTimeoutMs: undefined,
    cpuFloorMillicores: undefined,
    timeouts: undefined,
    reportedActiveMs: 0,
    ready: true,
    readyReason: '',
    readyMessage: '',
    readyGeneration: 1,
    suspended: false,
    finished: false,
    isolated: true,
    template: 'default/',
    podName: name,
    runtimeClass: '',
    egressClass: '',
    ...more,
  } as SandboxRecord;
}

/** What it keeps of the Pod of that Sandbox, which is Ready. */
export function podRecord(sandbox: string, uid: string, address: string, more: Partial<PodRecord> = {}): PodRecord {
  return {
    namespace: 'default',
    name: sandbox,
    uid,
    sandboxUid: `uid-${sandbox}`,
    address,
    ready: true,
    terminating: false,
    hostNetwork: false,
    runtimeClass: '',
    egressClass: 'none',
    busy: undefined,
    cpuActiveAtMs: 0,
    createdAtMs: 1000,
    checkpointed: false,
    resumes: '',
    restored: true,
    ownsAddress: false,
    faults: 0,
    suspectPorts: undefined,
    ...more,
  } as unknown as PodRecord;
}
