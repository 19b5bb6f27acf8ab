import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { quoted } from '../../command-shell.ts';
import type { ResourceLimits } from '../runtime.ts';
import { type Controller, findControllers, type Resource } from './controllers.ts';

/** Cgroups of one engine: one for each sandbox that has limits, and none for others. */
export interface Cgroups {
  /** Why a resource can't be bounded on this machine; nothing for what can be. */
  problems: Partial<Record<Resource, string>>;
  /**
   * Makes a group, where there are limits. Resolves with the beginning of a shell script: what it executes afterwards, and all that this starts, is in the group;
   * empty without one.
   */
  make(id: string, limits: ResourceLimits | undefined): Promise<string>;
  /** The beginning of a script that runs in a group that is there; empty if it is not. */
  joining(id: string): string;
  /**
   * Words of a shell command that runs another one while the group's bound on memory is off; none if there is no such bound. What writes a sandbox to disk needs
   * memory of its own, and must not be killed for it.
   */
  withoutMemoryBound(id: string): string[];
  /** Whether the kernel has killed something in the group because its memory was used up. */
  wasOutOfMemory(id: string): boolean;
  /** Removes a group whose processes have ended, or are about to. Unknown ones are no error. */
  remove(id: string): Promise<void>;
  /** Groups that are there, also those of an earlier engine. */
  list(): string[];
  /** Removes what all groups share. */
  close(): Promise<void>;
}

/** Time over which cpu limits are counted, Kubernetes' default. */
const CPU_PERIOD_US = 100_000;
/** The kernel takes no smaller quota. */
const LEAST_QUOTA_US = 1000;
/** Tasks of this machine in one group: a bomb of processes ends before the machine does. */
const MOST_TASKS = 16_384;
/** Exit code of a script that could not enter its group. */
export const NOT_JOINED = 125;
const REMOVE_TIMEOUT_MS = 5000;
/** `<bound> <bound with swap> <no bound> <command …>`: the bounds come back whatever becomes of the command, and of the engine. */
const UNBOUNDED_SCRIPT = `bound=$1; swap=$2; none=$3; shift 3
value=$(cat "$bound")
[ -e "$swap" ] && echo "$none" > "$swap"
echo "$none" > "$bound"
"$@"; code=$?
echo "$value" > "$bound"
[ -e "$swap" ] && echo "$value" > "$swap"
exit $code`;

/** Cgroups in directories called `name`. */
export function createCgroups(name: string, mountInfo?: string): Cgroups {
  const controllers = findControllers(name, mountInfo);
  const usable = Object.entries(controllers).flatMap(([resource, controller]) =>
    'problem' in controller ? [] : [{ resource: resource as Resource, controller }],
  );
  const directories = [...new Set(usable.map(({ controller }) => controller.directory))];
  const memory = 'problem' in controllers.memory ? undefined : controllers.memory;

  function joining(id: string): string {
    const groups = directories.map((directory) => join(directory, id)).filter((path) => existsSync(path));
    if (groups.length === 0) return '';
    const joins = groups.map((path) => `echo 0 > ${quoted([join(path, 'cgroup.procs')])}`);
    return `{ ${joins.join(' && ')}; } || exit ${NOT_JOINED}; `;
  }

  return {
    problems: Object.fromEntries(
      Object.entries(controllers).flatMap(([resource, found]) =>
        'problem' in found ? [[resource, found.problem]] : [],
      ),
    ),
    joining,

    make: async (id, limits) => {
      if (limits === undefined) return '';
      await Promise.all(directories.map((directory) => mkdir(join(directory, id), { recursive: true })));
      const bounds = usable.flatMap(({ resource, controller }) => boundsOf(resource, controller, limits));
      // In this order: memory and swap together can't be bounded below memory alone.
      for (const [directory, file, value] of bounds) {
        const path = join(directory, id, file);
        // Not there where swap is not counted.
        if (!/swap|memsw/.test(file) || existsSync(path)) await writeFile(path, value);
      }
      return joining(id);
    },

    withoutMemoryBound: (id) => {
      if (memory === undefined || !existsSync(join(memory.directory, id))) return [];
      const path = (file: string) => join(memory.directory, id, file);
      const bounds =
        memory.version === 1
          ? [path('memory.limit_in_bytes'), path('memory.memsw.limit_in_bytes'), '-1']
          : [path('memory.max'), '', 'max'];
      return ['/bin/sh', '-c', UNBOUNDED_SCRIPT, 'unbounded', ...bounds];
    },

    wasOutOfMemory: (id) => {
      if (memory === undefined) return false;
      const path = join(memory.directory, id, memory.version === 1 ? 'memory.oom_control' : 'memory.events');
      return existsSync(path) && /^oom_kill [1-9]/m.test(readFileSync(path, 'utf8'));
    },

    remove: async (id) => {
      await Promise.all(directories.map((directory) => removeGroup(join(directory, id))));
    },

    list: () => [
      ...new Set(
        directories.flatMap((directory) =>
          readdirSync(directory, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])),
        ),
      ),
    ],

    close: async () => {
      for (const directory of directories) await rmdir(directory).catch(() => {});
    },
  };
}

/** Files and values of a group's bounds. */
function boundsOf(
  resource: Resource,
  { version, directory }: Controller,
  { memoryBytes, cpuMillicores }: ResourceLimits,
): [directory: string, file: string, value: string][] {
  if (resource === 'pids') return [[directory, 'pids.max', String(MOST_TASKS)]];
  if (resource === 'memory') {
    if (memoryBytes === undefined) return [];
    const value = String(memoryBytes);
    return version === 1
      ? [
          [directory, 'memory.limit_in_bytes', value],
          [directory, 'memory.memsw.limit_in_bytes', value],
        ]
      : [
          [directory, 'memory.max', value],
          [directory, 'memory.swap.max', '0'],
          [directory, 'memory.oom.group', '1'],
        ];
  }
  if (cpuMillicores === undefined) return [];
  const quota = String(Math.max(LEAST_QUOTA_US, Math.round((cpuMillicores * CPU_PERIOD_US) / 1000)));
  return version === 1
    ? [
        [directory, 'cpu.cfs_period_us', String(CPU_PERIOD_US)],
        [directory, 'cpu.cfs_quota_us', quota],
      ]
    : [[directory, 'cpu.max', `${quota} ${CPU_PERIOD_US}`]];
}

/** A group can be removed once the last of its processes is gone, which takes a moment after it was killed; whoever is left is killed here. */
async function removeGroup(path: string): Promise<void> {
  const giveUpAtMs = performance.now() + REMOVE_TIMEOUT_MS;
  while (existsSync(path)) {
    try {
      await rmdir(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      if (performance.now() > giveUpAtMs) throw error;
      for (const pid of readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n')) kill(Number(pid));
      await delay(10);
    }
  }
}

function kill(pid: number): void {
  try {
    if (pid > 0) process.kill(pid, 'SIGKILL');
  } catch {
    // It ended meanwhile.
  }
}
