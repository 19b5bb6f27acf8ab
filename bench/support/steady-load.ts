import { fork } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { helpersOnCore, type Measured, onCore } from './processes.ts';
import type { SteadyRequests, SteadyWay } from './steady-requests.ts';

/** A sandbox, and whoever sends requests to it or to its proxies, in one thread. */
export interface SteadyLoad extends Measured {
  /** See `SteadyClient`; the connections of a way stay open until the end. */
  send(requests: SteadyWay & SteadyRequests): Promise<Float64Array>;
}

/** Where helping threads of the load go: beside the proxies, which go before them. */
const HELPERS_CORE = 0;
/** What survives of its garbage is little, and no other thread may be waited for; what it has read is freed by one. */
const NODE_OPTIONS = [
  '--no-parallel-scavenge',
  '--no-concurrent-marking',
  '--no-concurrent-sweeping',
  '--max-semi-space-size=16',
];

/**
 * Starts both on core 1. A sandbox of its own process beside a load that never rests must be woken by an interrupt for each request, which is whoever asked that
 * pays, as no network would have it; and what V8 compiles beside the load took 4 ms at a time from it.
 */
export async function startSteadyLoad(port: number): Promise<SteadyLoad> {
  const child = fork(join(dirname(fileURLToPath(import.meta.url)), 'steady-load-process.ts'), [String(port)], {
    execArgv: NODE_OPTIONS,
    serialization: 'advanced',
  });
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the load ended with code ${code}`);
  });
  ended.catch(() => {});
  const pid = child.pid as number;
  await Promise.race([once(child, 'message'), ended]);
  onCore(1, pid);
  helpersOnCore(HELPERS_CORE, pid);
  return {
    pid,
    output: () => '',
    send: async (requests) => {
      child.send(requests);
      const [answer] = await Promise.race([once(child, 'message'), ended]);
      if ('error' in answer) throw new Error(answer.error);
      return answer.delaysMs;
    },
    stop: async () => {
      child.disconnect();
      await once(child, 'exit');
    },
  };
}
