import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { PODS, type Pod, type ResourceClient } from '../kubernetes/index.ts';
import type { PodLogs } from './api/index.ts';

const CHUNK_BYTES = 65_536;
const FOLLOW_POLL_MS = 200;

/** Logs of Pods out of the files that their containers write to: the last lines, the first bytes, and what follows. */
export function createPodLogs(client: ResourceClient, logPathOf: (podUid: string) => string): PodLogs {
  return async function* (namespace, name, options) {
    const pod = await client.get<Pod>(PODS, { namespace, name });
    const path = logPathOf(pod.metadata.uid ?? '');
    if (!existsSync(path)) return;
    const file = await open(path);
    try {
      const { size } = await file.stat();
      let position = options.tailLines === undefined ? 0 : await startOfLastLines(file, size, options.tailLines);
      let leftBytes = options.limitBytes ?? Number.POSITIVE_INFINITY;
      while (leftBytes > 0 && !options.signal.aborted) {
        const { buffer, bytesRead } = await file.read(
          Buffer.alloc(Math.min(CHUNK_BYTES, leftBytes)),
          0,
          undefined,
          position,
        );
        if (bytesRead > 0) {
          position += bytesRead;
          leftBytes -= bytesRead;
          yield buffer.subarray(0, bytesRead);
        } else if (options.follow) await delay(FOLLOW_POLL_MS, undefined, { signal: options.signal }).catch(() => {});
        else return;
      }
    } finally {
      await file.close();
    }
  };
}

async function startOfLastLines(
  file: Awaited<ReturnType<typeof open>>,
  sizeBytes: number,
  lines: number,
): Promise<number> {
  if (lines === 0) return sizeBytes;
  const start = Math.max(0, sizeBytes - 2 ** 20);
  const { buffer } = await file.read(Buffer.alloc(sizeBytes - start), 0, sizeBytes - start, start);
  let seen = 0;
  for (let index = buffer.length - 2; index >= 0; index--) {
    if (buffer[index] === 10 && ++seen === lines) return start + index + 1;
  }
  return start;
}
