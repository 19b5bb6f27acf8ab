import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { linkPrefix, namespaceName } from '../../src/engine/network/links.ts';
import { engineTagOf } from '../../src/engine/runtime/index.ts';

/** What sandboxes may leave behind on a machine: one line for each thing, sorted. */
export interface Footprint {
  processes: string[];
  namespaces: string[];
  links: string[];
  mounts: string[];
  /** Also that in which those of the engine are, once it has ended. */
  cgroups: string[];
}

/** Nothing at all. */
export const NOTHING_LEFT: Footprint = { processes: [], namespaces: [], links: [], mounts: [], cgroups: [] };

/** What is there now of the engine in this state directory, by the names that it gives: other engines on the machine do not count. */
export function footprint(stateDirectory: string): Footprint {
  const tag = engineTagOf(join(stateDirectory, 'engine'));
  const links = lines('ip', ['-o', 'link', 'show']).map((line) => line.split(': ')[1]?.split('@')[0] ?? line);
  return {
    processes: processesOf(stateDirectory),
    namespaces: lines('ip', ['netns', 'list']).filter((name) => name.startsWith(namespaceName(tag, ''))),
    links: links.filter((name) => name.startsWith(linkPrefix(tag))),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(stateDirectory))
      .sort(),
    cgroups: cgroupsOf(`sandbox-router-${tag}`),
  };
}

/** What is in `after` and was not in `before`. */
export function leaked(before: Footprint, after: Footprint): Footprint {
  const added = (name: keyof Footprint) => after[name].filter((line) => !before[name].includes(line));
  return {
    processes: added('processes'),
    namespaces: added('namespaces'),
    links: added('links'),
    mounts: added('mounts'),
    cgroups: added('cgroups'),
  };
}

/** Cgroups of this name and those in them, in whatever hierarchies there are. */
export function cgroupsOf(name: string): string[] {
  return ['', 'memory', 'cpu', 'cpu,cpuacct', 'pids'].flatMap((hierarchy) => {
    const directory = join('/sys/fs/cgroup', hierarchy, name);
    if (!existsSync(directory)) return [];
    const groups = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [directory, ...groups.map((entry) => join(directory, entry.name))];
  });
}

/** Command lines of live processes that mention the directory, this one and its parents aside. */
function processesOf(stateDirectory: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid || Number(pid) === process.ppid) continue;
    try {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      if (commandLine.includes(stateDirectory) || environment.includes(`${stateDirectory}/`))
        found.push(`${pid} ${commandLine}`);
    } catch {
      // It ended while we looked.
    }
  }
  return found.sort();
}

function lines(command: string, commandLine: string[]): string[] {
  return execFileSync(command, commandLine, { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .sort();
}
