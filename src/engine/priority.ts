import { getPriority, setPriority } from 'node:os';

/** In nice(2)'s terms: sandboxes have 0. */
const BEFORE_SANDBOXES = -10;

/**
 * Lets the thread that routes and reconciles go before sandboxes where the processor is short: one that is being restored takes all of it just when its caller waits for
 * both. Only where this program has the usual priority, and the right to change it.
 */
export function goBeforeSandboxes(): void {
  if (getPriority() !== 0) return;
  try {
    setPriority(BEFORE_SANDBOXES);
  } catch {
    // Not root: wakes are a few milliseconds slower.
  }
}

/** Gives a process that was just started the priority which this program has by itself. */
export function giveUsualPriority(pid: number | undefined): void {
  if (pid === undefined || getPriority() !== BEFORE_SANDBOXES) return;
  try {
    setPriority(pid, 0);
  } catch {
    // It ended just now.
  }
}
