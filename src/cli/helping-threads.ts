import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/** In nice(2)'s terms, below the thread that answers requests. */
const BELOW = 10;
const LOWEST = 19;
const OWN_THREADS = '/proc/self/task';

/**
 * Lets V8's helping threads, which compile and look for garbage, run where requests leave the processor free: each took as much of a single core as the thread that answers, for
 * milliseconds at a time. Only on Linux, where each thread has a priority of its own.
 */
export function letRequestsGoFirst(): void {
  if (!existsSync(OWN_THREADS)) return;
  const priority = Math.min(LOWEST, getPriority() + BELOW);
  for (const thread of readdirSync(OWN_THREADS)) if (helps(thread)) setPriority(Number(thread), priority);
}

function helps(thread: string): boolean {
  return readFileSync(`${OWN_THREADS}/${thread}/comm`, 'utf8').startsWith('V8Worker');
}
