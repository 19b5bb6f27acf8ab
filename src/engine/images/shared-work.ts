/** Work that several may wait for: it is done once for all who ask for the same at the same time, and given up when the last of them leaves. */
export interface SharedWork<Result> {
  run(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<Result>): Promise<Result>;
}

interface Running<Result> {
  result: Promise<Result>;
  waiting: number;
  controller: AbortController;
}

/** Shared work, so much of it at once. */
export function createSharedWork<Result>(concurrency: number): SharedWork<Result> {
  const running = new Map<string, Running<Result>>();
  const queue: (() => void)[] = [];
  let busy = 0;

  async function inTurn(work: () => Promise<Result>): Promise<Result> {
    if (busy >= concurrency) await new Promise<void>((resolve) => queue.push(resolve));
    else busy++;
    try {
      return await work();
    } finally {
      const next = queue.shift();
      if (next === undefined) busy--;
      else next();
    }
  }

  function begin(key: string, work: (signal: AbortSignal) => Promise<Result>): Running<Result> {
    const controller = new AbortController();
    const result = inTurn(async () => {
      controller.signal.throwIfAborted();
      return await work(controller.signal);
    }).finally(() => {
      if (running.get(key)?.controller === controller) running.delete(key);
    });
    result.catch(() => {});
    const entry = { result, waiting: 0, controller };
    running.set(key, entry);
    return entry;
  }

  return {
    run: async (key, signal, work) => {
      signal.throwIfAborted();
      const entry = running.get(key) ?? begin(key, work);
      entry.waiting++;
      const { promise: left, reject } = Promise.withResolvers<never>();
      const leave = () => reject(signal.reason);
      signal.addEventListener('abort', leave, { once: true });
      try {
        return await Promise.race([entry.result, left]);
      } finally {
        signal.removeEventListener('abort', leave);
        if (--entry.waiting === 0) {
          entry.controller.abort();
          if (running.get(key) === entry) running.delete(key);
        }
      }
    },
  };
}
