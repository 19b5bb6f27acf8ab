import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RuntimeError } from '../runtime.ts';
import type { Runsc } from './runsc.ts';

/** What runsc keeps of a container on disk. */
export interface KeptState {
  /** As of the last command that changed it. */
  status: 'creating' | 'created' | 'running' | 'paused' | 'stopped';
  /** Its sentry, which is that of all containers of its sandbox. */
  sentryPid: number;
  /** Whether that process is there. */
  alive: boolean;
}

/** The parts of runsc's file that matter here. */
interface StateFile {
  status: KeptState['status'];
  goferPid?: number;
  sandbox?: { pid?: number; id?: string };
}

/** runsc writes the file in place: for a moment it is not whole. */
const ATTEMPTS = 100;
const AGAIN_MS = 20;

/**
 * State of a container by runsc's own file; undefined where runsc knows none. `runsc state` asks the sentry, which does not answer while it is being
 * checkpointed: runsc waits then, or takes what does not answer for stopped, and so would its memory be given up. @throws RuntimeError `state_unknown`
 */
export async function keptState(runsc: Runsc, id: string): Promise<KeptState | undefined> {
  for (let attempt = 1; ; attempt++) {
    const text = readState(runsc, id);
    if (text === undefined) return undefined;
    try {
      return stateOf(text);
    } catch (error) {
      if (attempt === ATTEMPTS) throw new RuntimeError('state_unknown', `state of container ${id}: ${error}`);
      await delay(AGAIN_MS);
    }
  }
}

/** The sentry and the gofer of a container that is alone in its sandbox or holds it; undefined where there are none. */
export function processesOf(runsc: Runsc, id: string): { sentryPid: number; goferPid: number } | undefined {
  try {
    const text = readFileSync(join(runsc.rootDirectory, `${id}_sandbox:${id}.state`), 'utf8');
    const { goferPid, sandbox } = JSON.parse(text) as StateFile;
    return (sandbox?.pid ?? 0) > 0 ? { sentryPid: sandbox?.pid ?? 0, goferPid: goferPid ?? 0 } : undefined;
  } catch {
    return undefined;
  }
}

function readState({ rootDirectory }: Runsc, id: string): string | undefined {
  const file = readdirSync(rootDirectory).find((name) => name.startsWith(`${id}_sandbox:`) && name.endsWith('.state'));
  try {
    return file === undefined ? undefined : readFileSync(join(rootDirectory, file), 'utf8');
  } catch (error) {
    // Deleted since.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function stateOf(text: string): KeptState {
  const { status, sandbox } = JSON.parse(text) as StateFile;
  const pid = Math.max(0, sandbox?.pid ?? 0);
  return { status, sentryPid: pid, alive: pid > 0 && isSentry(pid, sandbox?.id ?? '') };
}

/** The number may be another process's by now. */
function isSentry(pid: number, sandboxId: string): boolean {
  try {
    if (/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) return false;
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(sandboxId);
  } catch {
    return false;
  }
}
