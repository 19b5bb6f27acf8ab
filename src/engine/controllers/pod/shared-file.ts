import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Path of a file with this text, written if there is none yet. It is the same for all Pods that need the same text, so that a container can be made before its
 * Pod is there.
 */
export function sharedFile(directory: string, text: string): string {
  const path = join(directory, createHash('sha256').update(text).digest('hex').slice(0, 16));
  if (existsSync(path)) return path;
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  writeFileSync(`${path}.new`, text, { mode: 0o644 });
  renameSync(`${path}.new`, path);
  return path;
}
