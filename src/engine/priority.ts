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

/** What is started has the usual priority from its first instruction on: a program with threads would keep another one in those that it has by the time it is changed. */
export function withUsualPriority<Result>(start: () => Result): Result {
  if (getPriority() !== BEFORE_SANDBOXES) return start();
  setPriority(0);
  try {
    return start();
  } finally {
    setPriority(BEFORE_SANDBOXES);
  }
}
