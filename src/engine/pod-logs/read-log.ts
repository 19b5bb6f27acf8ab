import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import {
  ApiError,
  type ContainerStatus,
  isApiError,
  PODS,
  type Pod,
  type ResourceClient,
} from '../../kubernetes/index.ts';
import type { PodLogs } from '../api/index.ts';
import { logKey } from '../pod-containers.ts';
import { type LogIndex, timeAt } from './log-index.ts';
import type { LogStore } from './log-store.ts';

const CHUNK_BYTES = 65_536;
const FOLLOW_POLL_MS = 200;
const NEWLINE = 10;

/** Logs of Pods as the `log` subresource gives them. A follower is left when the container ends, as by a kubelet. */
export function createPodLogs(client: ResourceClient, store: LogStore): PodLogs {
  return async function* (namespace, name, options) {
    const pod = await client.get<Pod>(PODS, { namespace, name });
    const key = logKey(pod, options.container);
    const index = store.look(key);
    if (index === undefined) throw noLog(pod, options.container, options.previous);
    const range = rangeOf(index, options.previous);
    if (range === undefined) throw noLog(pod, options.container, options.previous);
    const sinceMs = sinceOf(options, Date.now());
    const lookAgain = () => store.look(key);
    const file = await open(store.pathOf(key));
    try {
      const end = Math.min(range.to, (await file.stat()).size);
      let from = Math.max(range.from, index.keptFrom);
      if (sinceMs !== undefined) from = Math.max(from, firstSince(index, sinceMs) ?? end);
      // Only what is kept, and of it only whole lines.
      if (from !== range.from) from = await lineStart(file, from, end);
      if (options.tailLines !== undefined) from = await startOfLastLines(file, from, end, options.tailLines);
      const follow = options.follow && !options.previous;
      const endIfOver = async () => {
        if (await isRunning(client, pod, options.container)) return undefined;
        // If it was started again meanwhile, that is another log.
        return lookAgain()?.starts[index.starts.length] ?? Number.POSITIVE_INFINITY;
      };
      const raw = readFrom(file, from, range.to, follow ? endIfOver : undefined, options.signal);
      const dressed = options.timestamps ? withTimes(raw, from, lookAgain) : raw;
      yield* limited(dressed, options.limitBytes);
    } finally {
      await file.close();
    }
  };
}

/** Where the present or the previous log lies; undefined where there is no previous one. */
function rangeOf({ starts }: LogIndex, previous: boolean): { from: number; to: number } | undefined {
  const from = starts.at(-1) ?? 0;
  if (!previous) return { from, to: Number.POSITIVE_INFINITY };
  const before = starts.at(-2);
  return before === undefined ? undefined : { from: before, to: from };
}

function sinceOf(
  { sinceSeconds, sinceTime }: { sinceSeconds?: number; sinceTime?: string },
  nowMs: number,
): number | undefined {
  if (sinceSeconds !== undefined) return nowMs - sinceSeconds * 1000;
  return sinceTime === undefined ? undefined : Date.parse(sinceTime);
}

function firstSince({ times }: LogIndex, sinceMs: number): number | undefined {
  return times.find(({ atMs }) => atMs >= sinceMs)?.from;
}

/** Reads up to `to`; with `endIfOver`, waits for more until that knows an end. */
async function* readFrom(
  file: FileHandle,
  from: number,
  to: number,
  endIfOver: (() => Promise<number | undefined>) | undefined,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let position = from;
  let end = to;
  let over = endIfOver === undefined;
  while (position < end && !signal.aborted) {
    const { buffer, bytesRead } = await file.read(
      Buffer.alloc(CHUNK_BYTES),
      0,
      Math.min(CHUNK_BYTES, end - position),
      position,
    );
    position += bytesRead;
    if (bytesRead > 0) {
      yield buffer.subarray(0, bytesRead);
      continue;
    }
    if (over) return;
    // What it wrote between the last read and its end comes with one more.
    const found = await endIfOver?.();
    over = found !== undefined;
    end = found ?? end;
    if (!over) await delay(FOLLOW_POLL_MS, undefined, { signal }).catch(() => {});
  }
}

/** Whether the container that the Pod had then runs still. */
async function isRunning(client: ResourceClient, pod: Pod, name: string): Promise<boolean> {
  const { metadata } = pod;
  try {
    const now = await client.get<Pod>(PODS, { namespace: metadata.namespace ?? '', name: metadata.name });
    const ended = now.status?.phase === 'Succeeded' || now.status?.phase === 'Failed';
    const before = statusOf(pod, name);
    const container = statusOf(now, name);
    const same = now.metadata.uid === metadata.uid && container?.restartCount === before?.restartCount;
    return same && !ended && container?.state?.running !== undefined;
  } catch (error) {
    if (isApiError(error, 'NotFound')) return false;
    throw error;
  }
}

function statusOf({ status }: Pod, name: string): ContainerStatus | undefined {
  return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])].find(
    (container) => container.name === name,
  );
}

/** Puts before each line when its beginning was written (RFC 3339, as kubelets do). */
async function* withTimes(
  chunks: AsyncIterable<Buffer>,
  from: number,
  look: () => LogIndex | undefined,
): AsyncGenerator<Buffer> {
  let position = from;
  let atLineStart = true;
  for await (const chunk of chunks) {
    const index = look();
    const parts: Buffer[] = [];
    for (let start = 0; start < chunk.length; ) {
      const newline = chunk.indexOf(NEWLINE, start);
      const end = newline === -1 ? chunk.length : newline + 1;
      if (atLineStart) {
        const atMs = (index === undefined ? undefined : timeAt(index, position + start)) ?? Date.now();
        parts.push(Buffer.from(`${new Date(atMs).toISOString()} `));
      }
      parts.push(chunk.subarray(start, end));
      atLineStart = newline !== -1;
      start = end;
    }
    position += chunk.length;
    yield Buffer.concat(parts);
  }
}

async function* limited(chunks: AsyncIterable<Buffer>, limitBytes = Number.POSITIVE_INFINITY): AsyncGenerator<Buffer> {
  let left = limitBytes;
  if (left === 0) return;
  for await (const chunk of chunks) {
    yield chunk.subarray(0, Math.min(left, chunk.length));
    left -= chunk.length;
    if (left <= 0) return;
  }
}

/** The first start of a line at or after a position. */
async function lineStart(file: FileHandle, from: number, end: number): Promise<number> {
  if (from === 0) return 0;
  for (let position = from - 1; position < end; ) {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, position);
    if (bytesRead === 0) return end;
    const newline = buffer.subarray(0, bytesRead).indexOf(NEWLINE);
    if (newline !== -1) return Math.min(end, position + newline + 1);
    position += bytesRead;
  }
  return end;
}

/** Where the last so many lines of a range begin. A last line without its end counts. */
async function startOfLastLines(file: FileHandle, from: number, end: number, lines: number): Promise<number> {
  if (lines === 0) return end;
  let seen = 0;
  for (let high = end; high > from; ) {
    const low = Math.max(from, high - CHUNK_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(high - low), 0, high - low, low);
    for (let place = bytesRead - 1; place >= 0; place--)
      if (buffer[place] === NEWLINE && low + place < end - 1 && ++seen === lines) return low + place + 1;
    high = low;
  }
  return from;
}

/** What a kubelet answers where there is no log. */
function noLog(pod: Pod, container: string, previous: boolean): ApiError {
  const { name } = pod.metadata;
  const waiting = statusOf(pod, container)?.state?.waiting?.reason ?? 'ContainerCreating';
  const message = previous
    ? `previous terminated container ${JSON.stringify(container)} in pod ${JSON.stringify(name)} not found`
    : `container ${JSON.stringify(container)} in pod ${JSON.stringify(name)} is waiting to start: ${waiting}`;
  return new ApiError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason: 'BadRequest',
    code: 400,
  });
}
