import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { processesOf } from './kept-state.ts';
import { RUNSC_TIMEOUT_MS, type Runsc } from './runsc.ts';

const LOOK_MS = 20;

/**
 * Resolves once no call that starts or checkpoints a container is under way which an engine made that was killed since: such calls go on by themselves. What
 * they start would come up after it was looked for, and of a second checkpoint beside them nobody knows what it would hold.
 */
export async function untilEarlierCallsEnd(runsc: Runsc): Promise<void> {
  const root = `--root=${runsc.rootDirectory}`;
  const giveUpAtMs = performance.now() + RUNSC_TIMEOUT_MS;
  while (commandLines().some((line) => isUnderWay(line, root))) {
    if (performance.now() > giveUpAtMs) return;
    await delay(LOOK_MS);
  }
}

/** Memory of a container's sentry and gofer in bytes, their share of what they have in common with others; 0 for one that is gone. */
export function memoryOfContainer(runsc: Runsc, id: string): number {
  const found = processesOf(runsc, id);
  return found === undefined ? 0 : proportionalBytes(found.sentryPid) + proportionalBytes(found.goferPid);
}

function proportionalBytes(pid: number): number {
  try {
    return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

function isUnderWay(line: string, root: string): boolean {
  return line.includes(root) && /^(?!runsc-)/.test(line) && /[\s'](create|restore|start|checkpoint)[\s']/.test(line);
}

/** Words of the command lines of all processes, with spaces. */
function commandLines(): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      return [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')];
    } catch {
      return [];
    }
  });
}
