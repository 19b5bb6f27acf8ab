import type { ContainerSpec } from '../../runtime/index.ts';
import type { Member } from './members.ts';
import type { PodRecord } from './pod-record.ts';
import type { ContainerEnd, ContainerPhase } from './status.ts';

/** A Pod of this machine as its controller knows it. */
export interface LocalPod {
  record: PodRecord;
  /** What its container was made by; unknown of one that an earlier engine made. */
  spec?: ContainerSpec;
  /** Its container; where several share its sandbox, the one that holds it. */
  container: ContainerPhase;
  /** Those that share its sandbox. */
  members?: Member[];
  /** Ends readiness probing and the watch for the container's exit. */
  following?: AbortController;
  /** A stop or a checkpoint is under way: its exit is no crash. */
  stopping: boolean;
  lastEnd?: ContainerEnd;
  /** `Unknown` while it is being taken. */
  checkpoint?: { status: 'True' | 'False' | 'Unknown'; message: string };
  /** Snapshot that it was started from, until its processes go on for sure. */
  restoredFrom?: string;
  /** It was restored where the Pod ended that the snapshot was taken of, at an address that was reserved all the time. */
  resumed?: boolean;
  /** What came of restoring it from a PodSnapshot. */
  restored?: { status: 'True' | 'False'; reason: string; message: string };
  /** Its startup probe did not succeed yet. */
  isStarting?: boolean;
  restartTimer?: NodeJS.Timeout;
  /** Nothing of it exists yet but the wait for its image. */
  awaitsImage?: boolean;
}

/** `namespace/name` of a local Pod. */
export function localKey({ record }: LocalPod): string {
  return `${record.namespace}/${record.name}`;
}

/** First and longest wait before a crashed container is started again. */
const FIRST_RESTART_MS = 1000;
const LONGEST_RESTART_MS = 60_000;

/** Sets a container's restart after its back-off, which doubles each time; `due` is told then. Returns that time in milliseconds. */
export function scheduleRestart(
  container: { restartTimer?: NodeJS.Timeout },
  { restartCount }: { restartCount: number },
  due: () => void,
): number {
  const delayMs = Math.min(LONGEST_RESTART_MS, FIRST_RESTART_MS * 2 ** restartCount);
  container.restartTimer = setTimeout(() => {
    delete container.restartTimer;
    due();
  }, delayMs);
  return delayMs;
}
