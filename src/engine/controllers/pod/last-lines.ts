import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';

/** Log lines that a container which ended leaves in its status. */
const LAST_LINES = 10;
const LAST_BYTES = 2048;

/** The end of a log: what explains an exit, short enough for a condition. */
export async function lastLines(path: string): Promise<string> {
  if (!existsSync(path)) return '';
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - LAST_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
    return buffer.subarray(0, bytesRead).toString().trim().split('\n').slice(-LAST_LINES).join('\n');
  } finally {
    await file.close();
  }
}
