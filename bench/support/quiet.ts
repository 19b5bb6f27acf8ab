import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

/** So long a machine must have been idle, and so idle. */
const WINDOW_MS = 100;
const IDLE_SHARE = 0.9;

/** Resolves once the machine has been idle for a moment, or after `longestMs`: what else runs on it disturbs one measurement and not the next. */
export async function untilQuiet(longestMs: number): Promise<void> {
  const giveUpAtMs = performance.now() + longestMs;
  let before = machineTimes();
  do {
    await delay(WINDOW_MS);
    const now = machineTimes();
    if (now.idle - before.idle >= (now.total - before.total) * IDLE_SHARE) return;
    before = now;
  } while (performance.now() < giveUpAtMs);
}

/** Time of all CPUs together since the start of the machine, in ticks (proc(5), /proc/stat). */
export function machineTimes(): { idle: number; total: number; cores: number } {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n');
  const [user = 0, nice = 0, system = 0, idle = 0, ioWait = 0, ...others] = line.split(/\s+/).slice(1, 9).map(Number);
  const rest = others.reduce((sum, ticks) => sum + ticks, 0);
  return { idle: idle + ioWait, total: user + nice + system + idle + ioWait + rest, cores: cpus().length };
}
