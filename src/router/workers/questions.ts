import type { PoolWorker } from './worker-pool.ts';

/** Asks workers, and collects what they answer. */
export interface Questions {
  /** Answers of those that are still there, or answer in time. */
  ask(workers: readonly PoolWorker[], question: 'metrics' | 'activity'): Promise<unknown[]>;
  answered(worker: PoolWorker, id: number, value: unknown): void;
  /** Nothing more will come from it. */
  gone(worker: PoolWorker): void;
}

const TIMEOUT_MS = 5000;
const NOTHING = Symbol('no answer');

/** No questions yet. */
export function createQuestions(): Questions {
  const open = new Map<PoolWorker, Map<number, (value: unknown) => void>>();
  let next = 1;

  function askOne(worker: PoolWorker, question: 'metrics' | 'activity'): Promise<unknown> {
    const id = next++;
    const ofWorker = open.get(worker) ?? new Map<number, (value: unknown) => void>();
    open.set(worker, ofWorker);
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle(NOTHING), TIMEOUT_MS);
      const settle = (value: unknown) => {
        clearTimeout(timer);
        ofWorker.delete(id);
        resolve(value);
      };
      ofWorker.set(id, settle);
      worker.channel.send({ ask: question, id });
    });
  }

  return {
    ask: async (workers, question) => {
      const answers = await Promise.all(workers.map((worker) => askOne(worker, question)));
      return answers.filter((answer) => answer !== NOTHING);
    },
    answered: (worker, id, value) => open.get(worker)?.get(id)?.(value),
    gone: (worker) => {
      for (const settle of open.get(worker)?.values() ?? []) settle(NOTHING);
      open.delete(worker);
    },
  };
}
