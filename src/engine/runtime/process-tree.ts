import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks of `/proc/<pid>/stat` a second: USER_HZ, which Linux keeps at 100 for all programs. */
const TICKS_PER_SECOND = 100;

interface Process {
  parent: number;
  ticks: number;
}

/** CPU that processes and all that descend from them have used since they began, in milliseconds; one look at /proc for all. */
export function cpuMsOfTrees(roots: readonly number[]): number[] {
  const processes = new Map<number, Process>();
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const found = Number.isInteger(pid) ? readProcess(pid) : undefined;
    if (found === undefined) continue;
    processes.set(pid, found);
    const siblings = children.get(found.parent);
    if (siblings === undefined) children.set(found.parent, [pid]);
    else siblings.push(pid);
  }
  return roots.map((root) => {
    let ticks = 0;
    const open = [root];
    for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
      ticks += processes.get(pid)?.ticks ?? 0;
      open.push(...(children.get(pid) ?? []));
    }
    return (ticks * 1000) / TICKS_PER_SECOND;
  });
}

/** Its own time, and that of children which have ended. */
function readProcess(pid: number): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
    return { parent: Number(fields[1]), ticks };
  } catch {
    return undefined;
  }
}
