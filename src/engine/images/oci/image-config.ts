import { lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageRoot } from '../images.ts';

/** `config` of an OCI image, as far as a container follows it. */
export interface OciImageConfig {
  Entrypoint?: string[] | null;
  Cmd?: string[] | null;
  Env?: string[] | null;
  WorkingDir?: string;
  User?: string;
}

/** What container engines put before an image that names no PATH. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Defaults of an image by its configuration. @throws Error for a user that its files don't know */
export function imageDefaults(config: OciImageConfig, rootPath: string): Omit<ImageRoot, 'root' | 'pulled'> {
  const env: Record<string, string> = { PATH: DEFAULT_PATH };
  for (const variable of config.Env ?? []) {
    const equals = variable.indexOf('=');
    if (equals > 0) env[variable.slice(0, equals)] = variable.slice(equals + 1);
  }
  return {
    entrypoint: config.Entrypoint ?? [],
    command: config.Cmd ?? [],
    env,
    workingDirectory: config.WorkingDir === undefined || config.WorkingDir === '' ? '/' : config.WorkingDir,
    user: resolveUser(config.User ?? '', rootPath),
  };
}

/**
 * `user[:group]` of an image, each a number or a name of its own /etc/passwd and /etc/group. @throws Error for a name that is not there
 */
export function resolveUser(text: string, rootPath: string): ImageRoot['user'] {
  const [user = '', group] = text.split(':');
  const passwd = linesOf(rootPath, 'passwd');
  const groups = linesOf(rootPath, 'group');
  const entry = passwd.find(([name, , uid]) => (isNumber(user) ? uid === user : name === user));
  if (user !== '' && entry === undefined && !isNumber(user))
    throw new Error(`the image's user "${user}" is not in its /etc/passwd`);
  const groupEntry = groups.find(([name, , gid]) => (isNumber(group ?? '') ? gid === group : name === group));
  if (group !== undefined && group !== '' && groupEntry === undefined && !isNumber(group))
    throw new Error(`the image's group "${group}" is not in its /etc/group`);
  const uid = user === '' ? 0 : Number(isNumber(user) ? user : entry?.[2]);
  const gid =
    group === undefined || group === '' ? Number(entry?.[3] ?? 0) : Number(isNumber(group) ? group : groupEntry?.[2]);
  const name = entry?.[0];
  // As container engines have it: with a group of its own choice, a user has no others.
  const others =
    group === undefined && name !== undefined
      ? groups.filter((fields) => (fields[3] ?? '').split(',').includes(name)).map((fields) => Number(fields[2]))
      : [];
  const additionalGids = others.filter((other) => other !== gid);
  return { uid, gid, ...(additionalGids.length === 0 ? {} : { additionalGids }) };
}

function isNumber(text: string): boolean {
  return /^\d{1,10}$/.test(text);
}

/** Fields of a file in the image's /etc. Nothing but plain files on the way: a link in an image could lead to files of this machine. */
function linesOf(rootPath: string, file: 'passwd' | 'group'): string[][] {
  const directory = join(rootPath, 'etc');
  const path = join(directory, file);
  if (lstatSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true || found.size > 1024 * 1024) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
}
