import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, realpath, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';

/** A request for something outside the workspace. */
export class AccessDeniedError extends Error {
  readonly code = 'access_denied';
}

/** One entry of a directory, as the SDK reads it (contract section 4.1). `mod_time` is Unix seconds, `mode` the file's bits. */
export interface ListedEntry {
  name: string;
  size: number;
  type: 'file' | 'directory';
  mod_time: number;
  mode: number;
}

/** Files below one directory, and never another: not by `..`, absolute paths, links or a link put there in between. */
export interface Workspace {
  openForReading(path: string): Promise<{ file: FileHandle; sizeBytes: number }>;
  openForWriting(path: string): Promise<FileHandle>;
  list(path: string): Promise<ListedEntry[]>;
  exists(path: string): Promise<boolean>;
  /** Where a path really is. */
  resolve(path: string): Promise<string>;
  /** Writes a file under another name and puts it in the place of `path`: who reads sees the old one or the new one, whole. */
  replace(path: string, mode: number, write: (file: FileHandle) => Promise<void>): Promise<void>;
  /** Removes a file, a link or a directory; one that is not empty only when asked to. */
  remove(path: string, recursive: boolean): Promise<void>;
}

/** A workspace in `directory`, which must exist. Paths are relative to it; a leading slash is ignored. */
export async function createWorkspace(directory: string): Promise<Workspace> {
  const root = await realpath(directory);
  const isInside = (path: string) => path === root || path.startsWith(root + sep);

  function locate(path: string): string {
    if (path.includes('\0')) throw new AccessDeniedError('Access denied');
    const located = resolve(root, path.replace(/^\/+/, ''));
    if (!isInside(located)) throw new AccessDeniedError('Access denied');
    return located;
  }

  /** What was opened is looked at again by its descriptor: a link swapped in after the check leads nowhere. */
  async function openInside(path: string, flags: number): Promise<FileHandle> {
    const located = locate(path);
    const parent = await realpath(dirname(located));
    if (!isInside(parent) && located !== root) throw new AccessDeniedError('Access denied');
    const file = await open(located, flags | constants.O_NONBLOCK, 0o644).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ELOOP') throw new AccessDeniedError('Access denied');
      throw error;
    });
    const opened = await realpath(`/proc/self/fd/${file.fd}`).catch(() => located);
    if (isInside(opened)) return file;
    await file.close();
    throw new AccessDeniedError('Access denied');
  }

  /** Does something in the directory of a path, by the directory's descriptor: a link swapped in for it leads nowhere. */
  async function inParentOf<T>(located: string, work: (path: string) => Promise<T>): Promise<T> {
    if (located === root) throw new AccessDeniedError('Access denied');
    const directory = await open(dirname(located), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const opened = await realpath(`/proc/self/fd/${directory.fd}`).catch(() => undefined);
      if (opened !== undefined && !isInside(opened)) throw new AccessDeniedError('Access denied');
      const anchor = opened === undefined ? dirname(located) : `/proc/self/fd/${directory.fd}`;
      return await work(`${anchor}/${basename(located)}`);
    } finally {
      await directory.close();
    }
  }

  return {
    openForReading: async (path) => {
      const file = await openInside(path, constants.O_RDONLY);
      const { size } = await file.stat();
      return { file, sizeBytes: size };
    },
    openForWriting: async (path) => {
      const located = locate(path);
      if (located === root) throw new AccessDeniedError('Access denied');
      await makeParents(root, dirname(located), isInside);
      return await openInside(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW);
    },
    resolve: async (path) => {
      const found = await realpath(locate(path));
      if (!isInside(found)) throw new AccessDeniedError('Access denied');
      return found;
    },
    replace: async (path, mode, write) => {
      const located = locate(path);
      if (located === root) throw new AccessDeniedError('Access denied');
      await makeParents(root, dirname(located), isInside);
      await inParentOf(located, async (target) => {
        const temporary = `${dirname(target)}/.${randomUUID()}.part`;
        const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
        try {
          await write(file);
          await file.chmod(mode);
          await file.close();
          await rename(temporary, target);
        } catch (error) {
          await file.close().catch(() => {});
          await unlink(temporary);
          throw error;
        }
      });
    },
    remove: async (path, recursive) =>
      await inParentOf(locate(path), async (target) => {
        if (recursive) return await rm(target, { recursive: true });
        await unlink(target).catch(async (error: NodeJS.ErrnoException) => {
          if (error.code !== 'EISDIR' && error.code !== 'EPERM') throw error;
          await rmdir(target);
        });
      }),
    list: async (path) => {
      const located = await realpath(locate(path));
      if (!isInside(located)) throw new AccessDeniedError('Access denied');
      const names = await readdir(located);
      const entries = await Promise.all(names.sort().map((name) => describe(join(located, name), name)));
      return entries.filter((entry) => entry !== undefined);
    },
    exists: async (path) => {
      try {
        return isInside(await realpath(locate(path)));
      } catch (error) {
        if (error instanceof AccessDeniedError) throw error;
        return false;
      }
    },
  };
}

/** Makes missing directories one by one, so that a link among them is noticed before anything is made behind it. */
async function makeParents(root: string, directory: string, isInside: (path: string) => boolean): Promise<void> {
  if (directory === root) return;
  await makeParents(root, dirname(directory), isInside);
  await mkdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  if (!isInside(await realpath(directory))) throw new AccessDeniedError('Access denied');
}

async function describe(path: string, name: string): Promise<ListedEntry | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  return {
    name,
    size: found.size,
    type: found.isDirectory() ? 'directory' : 'file',
    mod_time: found.mtimeMs / 1000,
    mode: found.mode,
  };
}
