import cluster, { type Worker } from 'node:cluster';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { type Channel, createChannel } from './channel.ts';
import type { ToPrimary, ToWorker } from './protocol.ts';
import { CHANNEL_FD } from './worker.ts';

/** A worker that runs. */
export interface PoolWorker {
  /** Its place among the workers, from 0; one that takes another's place has the same. */
  index: number;
  channel: Channel<ToPrimary, ToWorker>;
  /** Whether it takes connections. */
  listening: boolean;
  /** Pods with a port that refused it of late. */
  suspectPods: number;
}

/** What a pool needs. */
export interface WorkerPoolOptions {
  count: number;
  /** A worker has started: it knows nothing yet. */
  started(worker: PoolWorker): void;
  ended(worker: PoolWorker): void;
  /** A worker that nobody asked to end has ended: another takes its place. */
  report(what: string, error: unknown): void;
}

/** Worker processes that share the listening sockets; one that ends is replaced, and only its own connections end with it. */
export interface WorkerPool {
  workers(): readonly PoolWorker[];
  signal(signal: NodeJS.Signals): void;
  /** Asks all to end, and waits; whoever has not ended after `timeoutMs` is killed. */
  close(message: ToWorker, timeoutMs: number): Promise<void>;
}

/** Pauses before a worker that ended at once is started again. */
const LEAST_PAUSE_MS = 100;
const MOST_PAUSE_MS = 5000;
/** One that ran for so long was in order. */
const HEALTHY_MS = 10_000;
/** A worker that leaves so much untaken is stuck: a fresh one is better. */
const MOST_BACKLOG_BYTES = 256 << 20;
const BACKLOG_CHECK_MS = 1000;

/** Starts `count` workers of this very program, with its command line. */
export function startWorkerPool({ count, started, ended, report }: WorkerPoolOptions): WorkerPool {
  const running = new Map<Worker, PoolWorker>();
  let closing = false;
  let pauseMs = LEAST_PAUSE_MS;
  cluster.setupPrimary({ stdio: ['ignore', 'inherit', 'inherit', 'ipc', 'pipe'] });

  function start(index: number): void {
    if (closing) return;
    const startedAtMs = performance.now();
    const worker = cluster.fork();
    const channel = createChannel<ToPrimary, ToWorker>(worker.process.stdio[CHANNEL_FD] as Duplex);
    const member: PoolWorker = { index, channel, listening: false, suspectPods: 0 };
    running.set(worker, member);
    worker.on('error', (error) => report('a worker', error));
    worker.once('exit', (code, signal) => {
      running.delete(worker);
      channel.close();
      ended(member);
      if (closing) return;
      if (performance.now() - startedAtMs > HEALTHY_MS) pauseMs = LEAST_PAUSE_MS;
      report('a worker ended and is replaced', new Error(`exit ${code ?? signal}`));
      delay(pauseMs).then(() => start(index));
      pauseMs = Math.min(MOST_PAUSE_MS, pauseMs * 2);
    });
    started(member);
  }

  const watch = setInterval(() => {
    for (const [worker, { channel }] of running)
      if (channel.backlogBytes() > MOST_BACKLOG_BYTES) worker.process.kill('SIGKILL');
  }, BACKLOG_CHECK_MS);
  for (let index = 0; index < count; index++) start(index);
  return {
    workers: () => [...running.values()],
    signal: (signal) => {
      for (const worker of running.keys()) worker.process.kill(signal);
    },
    close: async (message, timeoutMs) => {
      closing = true;
      clearInterval(watch);
      const all = [...running].map(
        ([worker, { channel }]) =>
          new Promise<void>((resolve) => {
            worker.once('exit', () => resolve());
            channel.send(message);
          }),
      );
      const timer = setTimeout(() => {
        for (const worker of running.keys()) worker.process.kill('SIGKILL');
      }, timeoutMs);
      await Promise.all(all);
      clearTimeout(timer);
    },
  };
}
