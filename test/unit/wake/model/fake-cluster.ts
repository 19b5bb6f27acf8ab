import { ApiError } from '../../../../src/kubernetes/index.ts';
import { statusOf } from '../../../../src/kubernetes/status.ts';
import type { Fence, SandboxWriter } from '../../../../src/router/sandbox-writer.ts';
import type { PodRecord, RoutingTable, SandboxRecord } from '../../../../src/router/table/index.ts';
import { createProcesses } from './processes.ts';
import { firstSandbox, newPod } from './records.ts';

/** Something that will happen by itself at its time, or earlier if the test wants it to. */
interface Pending {
  dueMs: number;
  /** Those of one queue happen in their order. */
  queue: string;
  run(): void;
}

/** Longest delays of the world, in milliseconds of its clock. */
export const DELAYS = { call: 30, answer: 30, watch: 60, controller: 20, checkpoint: 80, start: 150 };

/** A router's end of a watch. */
export interface Watcher {
  table: RoutingTable;
  closed: boolean;
}

/** After an outage of the API nobody could object to a pause in time. */
const OUTAGE_SHADOW_MS = 2600;

/**
 * One sandbox, on an engine that takes snapshots or in a cluster that just ends pods, of which everything that takes time is a step: calls that arrive and are
 * answered, watch events, what the controller and the node do. Steps happen at the end of their longest delay, or earlier, in any order that one wants; only what is in one queue keeps its order.
 */
export function createFakeCluster(options: { clockMs(): number; drainMs: number; snapshots: boolean }) {
  const { clockMs, drainMs, snapshots } = options;
  const pending: Pending[] = [];
  const watchers = new Set<Watcher>();
  const violations: string[] = [];
  let version = 1;
  let uids = 0;
  let callers = 0;
  const processes = createProcesses(clockMs);
  /** Requests that were in a pod when it was stopped, as nobody could object. */
  const caught = new Set<number>();
  let pod: PodRecord | undefined;
  /** UID of the pod in whose snapshot the sandbox sleeps. */
  let snapshot = '';
  let downUntilMs = -OUTAGE_SHADOW_MS;
  let unheard = false;
  let failNext = { snapshot: false, restore: false };
  /** Generation whose suspension waits, and whether it has. */
  let suspending = 0;
  /** The pod's processes stand still, or are ending. */
  let stopping = false;
  /** The pod is asked for a checkpoint. */
  let asked = false;
  let drained = false;

  let sandbox = firstSandbox();

  function after(delayMs: number, queue: string, run: () => void): void {
    pending.push({ dueMs: clockMs() + delayMs, queue, run });
  }

  /** Takes the first of its queue out, and lets it happen. */
  function happen(index: number): void {
    const { queue } = pending[index] as Pending;
    const [first] = pending.splice(
      pending.findIndex((step) => step.queue === queue),
      1,
    ) as [Pending];
    first.run();
  }

  function publish(): void {
    for (const watcher of watchers) tell(watcher, { ...sandbox }, pod && { ...pod });
  }

  function tell(watcher: Watcher, now: SandboxRecord, podNow: PodRecord | undefined): void {
    after(DELAYS.watch, `watch ${[...watchers].indexOf(watcher)}`, () => {
      if (watcher.closed) return;
      for (const known of [...watcher.table.pods()]) if (known.uid !== podNow?.uid) watcher.table.deletePod(known.uid);
      watcher.table.upsertSandbox(now);
      if (podNow !== undefined) watcher.table.upsertPod(podNow);
    });
  }

  function change(more: Partial<SandboxRecord>): void {
    sandbox = { ...sandbox, ...more, resourceVersion: String(++version) };
    publish();
    after(DELAYS.controller, 'controller', reconcile);
  }

  function setPod(next: PodRecord | undefined): void {
    pod = next;
    publish();
    after(DELAYS.controller, 'controller', reconcile);
  }

  function status(more: Partial<SandboxRecord>): void {
    const wanted = { ...more, readyGeneration: sandbox.generation };
    const differs = Object.entries(wanted).some(([field, value]) => sandbox[field as keyof SandboxRecord] !== value);
    if (differs) change(wanted);
  }

  /** What a Sandbox controller does: contract section 2.5, with checkpoints, and a moment before them. */
  function reconcile(): void {
    if (pod?.checkpointed) {
      snapshot = pod.uid;
      removePod();
      return;
    }
    if (sandbox.running) {
      suspending = 0;
      drained = false;
      asked = false;
      if (stopping) return;
      if (pod === undefined) startPod();
      else if (pod.ready) status({ ready: true, readyReason: '', suspended: false });
      else status({ ready: false, readyReason: 'DependenciesNotReady', suspended: false });
      return;
    }
    if (pod === undefined) {
      status({ ready: false, readyReason: 'SandboxSuspended', suspended: true });
      return;
    }
    status({ ready: false, readyReason: 'SandboxSuspended', suspended: false });
    if (stopping || !pod.ready) return;
    const of = sandbox.generation;
    if (suspending !== of) {
      suspending = of;
      drained = false;
      after(drainMs, 'drain', () => {
        if (suspending !== of) return;
        drained = true;
        reconcile();
      });
      return;
    }
    if (!drained || asked) return;
    if (!snapshots) stop(pod);
    else {
      asked = true;
      after(DELAYS.controller, 'node', () => checkpoint());
    }
  }

  /** Whose requests are in the pod when it is stopped, and could have called that off? */
  function judgeStop(): void {
    for (const request of processes.requestsOfUse()) {
      if (clockMs() - downUntilMs < OUTAGE_SHADOW_MS) caught.add(request);
      else violations.push(`request ${request} was in the pod when it was stopped`);
    }
  }

  /** That it begins is written first, where it is still asked for: the pod is not Ready from then on. */
  function checkpoint(): void {
    if (!asked || pod === undefined) return;
    judgeStop();
    stopping = true;
    processes.standStill();
    const of = { ...pod, ready: false };
    setPod(of);
    after(DELAYS.checkpoint, 'node', () => {
      asked = false;
      if (failNext.snapshot) {
        failNext = { ...failNext, snapshot: false };
        stopping = false;
        processes.goOn();
        setPod({ ...of, ready: true });
        status({ readyReason: 'SandboxSuspended', readyMessage: 'the snapshot failed' });
        return;
      }
      setPod({ ...of, checkpointed: true });
    });
  }

  /** What a cluster without snapshots does. */
  function stop(of: PodRecord): void {
    judgeStop();
    stopping = true;
    processes.closePort();
    setPod({ ...of, terminating: true });
    after(DELAYS.checkpoint, 'node', () => {
      processes.end();
      removePod();
    });
  }

  function removePod(): void {
    stopping = false;
    suspending = 0;
    drained = false;
    processes.leave();
    setPod(undefined);
  }

  function startPod(): void {
    if (failNext.restore) {
      failNext = { ...failNext, restore: false };
      status({ ready: false, readyReason: 'SnapshotRestoreFailed', readyMessage: 'as the test wants it' });
      after(1000, 'node', () => after(DELAYS.controller, 'controller', reconcile));
      return;
    }
    // The address of a snapshot is kept for whoever goes on from it.
    const fresh = newPod(++uids, snapshots ? '10.0.0.1' : `10.0.0.${uids}`);
    setPod(fresh);
    after(DELAYS.start, 'node', () => {
      if (pod?.uid !== fresh.uid) return;
      processes.goOn();
      setPod({ ...fresh, ready: true, resumes: snapshot });
      snapshot = '';
    });
  }

  /** One call of the API: it arrives, is refused or done, and is answered; while the API is away it may be done without an answer. */
  function call<T>(caller: string, act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      after(DELAYS.call, caller, () => {
        const away = clockMs() < downUntilMs;
        const lost = away && (unheard || (++callers & 1) === 0);
        let answer: () => void;
        try {
          if (lost) throw unreachable();
          const result = act();
          answer = away ? () => reject(unreachable()) : () => resolve(result);
        } catch (error) {
          answer = () => reject(error);
        }
        after(DELAYS.answer, caller, answer);
      });
    });
  }

  function requireFence({ uid, resourceVersion }: Partial<Fence> = {}): void {
    const same =
      (uid ?? sandbox.uid) === sandbox.uid && (resourceVersion ?? sandbox.resourceVersion) === sandbox.resourceVersion;
    if (!same) throw new ApiError(statusOf(409, '{"kind":"Status","reason":"Conflict","code":409}', 'PATCH'));
  }

  function setRunning(running: boolean): number {
    if (running === sandbox.running && sandbox.draining === '') return sandbox.generation;
    const generation = running === sandbox.running ? sandbox.generation : sandbox.generation + 1;
    change({ running, draining: '', generation });
    return generation;
  }

  function writerFor(caller: string): SandboxWriter {
    let calls = 0;
    // Each call has a connection of its own: answers may overtake each other.
    const next = () => `${caller} ${calls++}`;
    return {
      setRunning: (_key, running, fence) =>
        call(next(), () => {
          requireFence(fence);
          return setRunning(running);
        }),
      announcePause: (_key, fence, announcement) =>
        call(next(), () => {
          requireFence(fence);
          change({ draining: announcement });
        }),
      annotate: (_key, uid, annotations) =>
        call(next(), () => {
          requireFence({ uid });
          if ('sandbox-router/draining' in annotations && sandbox.draining !== '') change({ draining: '' });
          const active = annotations['sandbox-router/last-active'];
          if (typeof active === 'string') change({ reportedActiveMs: Date.parse(active) });
        }),
    };
  }

  change({});
  return {
    violations,
    caught,
    processes,
    /** Whether a dial is accepted. */
    connect: (address: string): Promise<boolean> =>
      pod?.address === address ? processes.connect() : Promise.resolve(false),
    writerFor,
    /** Follows it from the present state on. */
    watch: (table: RoutingTable): Watcher => {
      const watcher = { table, closed: false };
      watchers.add(watcher);
      tell(watcher, { ...sandbox }, pod && { ...pod });
      return watcher;
    },
    /** Lets one of the steps that wait happen now; only the moment before a checkpoint is never cut short. */
    step: (choice: number) => {
      const early = pending.flatMap(({ queue }, index) => (queue === 'drain' ? [] : [index]));
      if (early.length > 0) happen(early[choice % early.length] as number);
    },
    /** Lets everything happen whose time has come. */
    settle: () => {
      for (;;) {
        const index = pending.findIndex(({ dueMs }) => dueMs <= clockMs());
        if (index < 0) return;
        happen(index);
      }
    },
    isQuiet: () => pending.length === 0,
    kubectl: (running: boolean) => setRunning(running),
    /** Calls are not answered for so long; `entirely` tells that none of them is acted upon either. */
    goDown: (ms: number, entirely: boolean) => {
      unheard = entirely;
      downUntilMs = Math.max(downUntilMs, clockMs() + ms);
    },
    fail: (what: 'snapshot' | 'restore') => {
      failNext = { ...failNext, [what]: true };
    },
    pod: () => pod,
    sandbox: () => sandbox,
  };
}

/** A cluster of {@link createFakeCluster}. */
export type FakeCluster = ReturnType<typeof createFakeCluster>;

function unreachable(): ApiError {
  return new ApiError({ ...statusOf(503, '', ''), reason: 'Unreachable', message: 'no answer from the API server' });
}
