import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statfsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { RuntimeError } from '../runtime.ts';

/** Suffix of a snapshot directory that is being written. */
export const PARTIAL_SUFFIX = '.partial';
/** File in a snapshot that tells the size of each other file: one `<name> <bytes>` line each. */
const SIZES_FILE = 'sizes';
/** Room left on the disk after a checkpoint. */
const SPARE_BYTES = 64 * 2 ** 20;

/**
 * Shell script of a checkpoint: `<runsc …> -- <partial> <final>`. It runs in a session of its own, so that it is carried through when the engine is
 * killed: a checkpoint stops the container, and its memory is then only here. The rename is the moment at which the snapshot exists.
 */
export const CHECKPOINT_SCRIPT = `
set -e
partial=$1; final=$2; shift 2
"$@"
cd "$partial"
stat -c '%n %s' *.img > ${SIZES_FILE}
sha256sum checkpoint.img | cut -d' ' -f1 > digest
sync "$partial"/* "$partial"
mv -T "$partial" "$final"
sync "$(dirname "$final")"
`;

/**
 * Checks that the disk has room for a checkpoint before it begins: runsc loses the container when the disk fills up while it writes.
 * `estimateBytes` is the container's memory and files; `reservedBytes` what other checkpoints under way will take.
 * @throws RuntimeError `checkpoint_failed`
 */
export function requireSpace(directory: string, estimateBytes: number, reservedBytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  const freeBytes = bavail * bsize - reservedBytes;
  const neededBytes = estimateBytes + SPARE_BYTES;
  if (freeBytes >= neededBytes) return;
  const mebibytes = (bytes: number) => `${Math.max(0, Math.round(bytes / 2 ** 20))} MiB`;
  throw new RuntimeError(
    'checkpoint_failed',
    `no space left: the snapshot may need ${mebibytes(neededBytes)}, ${directory} has ${mebibytes(freeBytes)}. Free some, then pause again.`,
  );
}

/** Bytes of memory and of root files that a checkpoint of this sentry would write, from above. */
export function estimateSnapshotBytes(sentryPid: number, filestoreDirectories: readonly string[]): number {
  const status = readFileSync(`/proc/${sentryPid}/status`, 'utf8');
  const kilobytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
  const files = filestoreDirectories
    .filter((directory) => existsSync(directory))
    .flatMap((directory) => readdirSync(directory).map((file) => join(directory, file)));
  const fileBytes = files.reduce(
    (sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.blocks ?? 0) * 512,
    0,
  );
  return (kilobytes('RssShmem') + kilobytes('RssAnon')) * 1024 + fileBytes;
}

/** Size of a snapshot, after checking that it is all there. @throws RuntimeError `snapshot_corrupt` that names the file */
export function verifySnapshot(directory: string): { sizeBytes: number } {
  const corrupt = (problem: string) =>
    new RuntimeError('snapshot_corrupt', `snapshot ${basename(directory)} can't be used: ${problem}`);
  const sizesPath = join(directory, SIZES_FILE);
  if (!existsSync(sizesPath)) throw corrupt(existsSync(directory) ? `${SIZES_FILE} is missing` : 'it is missing');
  let sizeBytes = 0;
  for (const line of readFileSync(sizesPath, 'utf8').trim().split('\n')) {
    const [name = '', wanted = ''] = line.split(' ');
    const found = statSync(join(directory, name), { throwIfNoEntry: false })?.size;
    if (found !== Number(wanted)) throw corrupt(`${name} has ${found ?? 'no'} bytes instead of ${wanted}`);
    sizeBytes += Number(wanted);
  }
  const digest = createHash('sha256')
    .update(readFileSync(join(directory, 'checkpoint.img')))
    .digest('hex');
  if (digest !== readFileSync(join(directory, 'digest'), 'utf8').trim()) throw corrupt('checkpoint.img was changed');
  return { sizeBytes };
}

/** True while some process still writes this snapshot (a checkpoint that outlived the engine which began it). */
export function isBeingWritten(directory: string): boolean {
  const partial = directory + PARTIAL_SUFFIX;
  return readdirSync('/proc').some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(partial);
    } catch {
      return false;
    }
  });
}

/** Removes a half-written snapshot. */
export function discardPartial(directory: string): void {
  rmSync(join(dirname(directory), basename(directory) + PARTIAL_SUFFIX), { recursive: true, force: true });
}
