import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a cgroup can bound. */
export type Resource = 'memory' | 'cpu' | 'pids';

/** The part of the machine's cgroups that bounds one resource. */
export interface Controller {
  version: 1 | 2;
  /** Groups are made below it. */
  directory: string;
}

/** Where each resource can be bounded, or why it can't. */
export type Controllers = Record<Resource, Controller | { problem: string }>;

const RESOURCES: Resource[] = ['memory', 'cpu', 'pids'];

/**
 * Finds out by trying: a directory of this name is made at the top of each hierarchy, as other container engines do, so that what is in it outlives whoever
 * started the engine. `mountInfo` is `/proc/self/mountinfo`.
 */
export function findControllers(name: string, mountInfo = readMountInfo()): Controllers {
  const mounts = parseMounts(mountInfo);
  const found = RESOURCES.map((resource) => [resource, controllerOf(resource, name, mounts)] as const);
  return Object.fromEntries(found) as Controllers;
}

interface CgroupMount {
  point: string;
  version: 1 | 2;
  options: string[];
}

function controllerOf(resource: Resource, name: string, mounts: CgroupMount[]): Controllers[Resource] {
  const first = mounts.find(({ version, options }) => version === 1 && options.includes(resource));
  const second = mounts.find(
    ({ version, point }) => version === 2 && wordsOf(point, 'cgroup.controllers').includes(resource),
  );
  const mount = first ?? second;
  if (mount === undefined) return { problem: 'this machine has no such cgroup controller' };
  const directory = join(mount.point, name);
  try {
    if (mount.version === 2) enable(mount.point, resource);
    mkdirSync(directory, { recursive: true });
    if (mount.version === 2) enable(directory, resource);
    return { version: mount.version, directory };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

/** Hands a controller of cgroup v2 down to the groups below. */
function enable(directory: string, resource: Resource): void {
  if (!wordsOf(directory, 'cgroup.subtree_control').includes(resource))
    writeFileSync(join(directory, 'cgroup.subtree_control'), `+${resource}`);
}

function wordsOf(directory: string, file: string): string[] {
  const path = join(directory, file);
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split(/\s+/) : [];
}

function readMountInfo(): string {
  return existsSync('/proc/self/mountinfo') ? readFileSync('/proc/self/mountinfo', 'utf8') : '';
}

/** Lines of mountinfo (proc(5)): `… <root> <point> <options> … - <type> <source> <options of the hierarchy>`. */
function parseMounts(mountInfo: string): CgroupMount[] {
  return mountInfo.split('\n').flatMap((line) => {
    const [place = '', hierarchy = ''] = line.split(' - ');
    const [type, , options = ''] = hierarchy.split(' ');
    const point = place.split(' ')[4];
    if (point === undefined || (type !== 'cgroup' && type !== 'cgroup2')) return [];
    return [{ point, version: type === 'cgroup' ? (1 as const) : (2 as const), options: options.split(',') }];
  });
}
