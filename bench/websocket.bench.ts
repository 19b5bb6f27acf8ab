import WebSocket from 'ws';
import type { BenchOptions } from './run.ts';
import { cpuTimeUs } from './support/processes.ts';
import { machine, median } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'WebSocket echo: messages per second through the router against a direct connection';

const SOCKETS = 50;
const MESSAGE = 'x'.repeat(64);
const RUN_MS = 2000;
const WANTED = 0.6;

/** Echoes over sockets to the sandbox itself and through the router, in turn. */
export async function run({ rounds = 5 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld({ upstream: 'web-socket-echo.ts' });
  try {
    const router = await world.startRouter();
    const direct = await openSockets(`ws://127.0.0.1:${world.upstreamPort}/`, {});
    const routed = await openSockets(`${router.url.replace('http', 'ws')}/`, router.headers);
    console.log(`${SOCKETS} sockets (ws), each sends ${MESSAGE.length} bytes again as soon as they are back. Router on core 0; clients and sandbox on core 1.
Medians of ${rounds} rounds in turn, ${RUN_MS / 1000} s each; the ratio is the median of those within a round.
`);
    await echo(direct, RUN_MS);
    await echo(routed, RUN_MS);
    const directly: number[] = [];
    const through: number[] = [];
    const cpu: number[] = [];
    for (let round = 0; round < rounds; round++) {
      directly.push(((await echo(direct, RUN_MS)) * 1000) / RUN_MS);
      const before = cpuTimeUs(router.process.pid);
      const messages = await echo(routed, RUN_MS);
      cpu.push((cpuTimeUs(router.process.pid) - before) / messages);
      through.push((messages * 1000) / RUN_MS);
    }
    for (const socket of [...direct, ...routed]) socket.terminate();
    const ratio = Math.round(median(through.map((each, round) => each / (directly[round] as number))) * 100) / 100;
    const figures = {
      directMessagesPerSecond: Math.round(median(directly)),
      routedMessagesPerSecond: Math.round(median(through)),
      cpuPerMessageUs: Math.round(median(cpu) * 10) / 10,
    };
    console.log(`directly ${figures.directMessagesPerSecond} messages/s, through the router ${figures.routedMessagesPerSecond} at ${figures.cpuPerMessageUs} µs of its CPU each
${ratio} of the direct figure, wanted: at least ${WANTED}`);
    return { ratio, wanted: WANTED, ...figures, rounds, machine: machine() };
  } finally {
    await world.close();
  }
}

function openSockets(url: string, headers: Record<string, string>): Promise<WebSocket[]> {
  return Promise.all(
    Array.from({ length: SOCKETS }, () => {
      const socket = new WebSocket(url, { headers, perMessageDeflate: false });
      return new Promise<WebSocket>((resolve, reject) => {
        socket.once('open', () => resolve(socket));
        socket.once('error', reject);
      });
    }),
  );
}

/** Messages that came back. */
async function echo(sockets: readonly WebSocket[], durationMs: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let count = 0;
  let waiting = sockets.length;
  let over = false;
  for (const socket of sockets) {
    socket.on('message', () => {
      if (!over) {
        count++;
        socket.send(MESSAGE);
        return;
      }
      socket.removeAllListeners('message');
      if (--waiting === 0) resolve();
    });
    socket.send(MESSAGE);
  }
  setTimeout(() => {
    over = true;
  }, durationMs);
  await promise;
  return count;
}
