/** Work to be done for keys: one at a time for each key, several keys at once; a key asked for while it is worked on is done again. */
export interface WorkQueue {
  add(key: string): void;
  addAfter(key: string, delayMs: number): void;
  /** Stops taking work and resolves when what is under way is done. */
  close(): Promise<void>;
}

/** Bounds of the queue. */
export interface WorkQueueOptions {
  reconcile(key: string): Promise<void>;
  /** Told of each failure; the key is tried again after a back-off of its own. */
  failed(key: string, error: unknown): void;
  concurrency?: number;
  firstRetryMs?: number;
  longestRetryMs?: number;
}

/** A level-triggered queue in the manner of client-go's: duplicates merge, failures back off exponentially. */
export function createWorkQueue(options: WorkQueueOptions): WorkQueue {
  const waiting = new Set<string>();
  const running = new Map<string, { again: boolean }>();
  const failures = new Map<string, number>();
  const timers = new Map<string, NodeJS.Timeout>();
  const concurrency = options.concurrency ?? 32;
  let closed = false;
  let idle: (() => void) | undefined;

  function add(key: string): void {
    if (closed) return;
    const current = running.get(key);
    if (current !== undefined) {
      current.again = true;
      return;
    }
    waiting.add(key);
    pump();
  }

  function addAfter(key: string, delayMs: number): void {
    if (closed) return;
    clearTimeout(timers.get(key));
    const timer = setTimeout(() => {
      timers.delete(key);
      add(key);
    }, delayMs);
    timers.set(key, timer);
  }

  function pump(): void {
    for (const key of waiting) {
      if (running.size >= concurrency) return;
      waiting.delete(key);
      work(key);
    }
  }

  async function work(key: string): Promise<void> {
    const entry = { again: false };
    running.set(key, entry);
    try {
      await options.reconcile(key);
      failures.delete(key);
    } catch (error) {
      const count = failures.get(key) ?? 0;
      failures.set(key, count + 1);
      options.failed(key, error);
      addAfter(key, Math.min(options.longestRetryMs ?? 30_000, (options.firstRetryMs ?? 20) * 2 ** count));
    }
    running.delete(key);
    if (entry.again) add(key);
    pump();
    if (closed && running.size === 0) idle?.();
  }

  return {
    add,
    addAfter,
    close: () => {
      closed = true;
      waiting.clear();
      for (const timer of timers.values()) clearTimeout(timer);
      return new Promise((resolve) => {
        idle = resolve;
        if (running.size === 0) resolve();
      });
    },
  };
}
