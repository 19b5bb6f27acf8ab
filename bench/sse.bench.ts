import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { BenchOptions } from './run.ts';
import { cpuTimeUs } from './support/processes.ts';
import { machine, median, percentile } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description =
  'server-sent events to 500 listeners: delay of each event, and CPU, against direct connections';

const LISTENERS = 500;
const EVENTS_PER_SECOND = 10;
const RUN_MS = 4000;

/** Listens to one sandbox's events, directly and through the router. */
export async function run({ rounds = 3 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld();
  try {
    const router = await world.startRouter();
    const { port, pathname } = new URL(router.url);
    console.log(`${LISTENERS} listeners to one sandbox that sends each of them ${EVENTS_PER_SECOND} events/s, all at once. Router on core 0; sandbox and listeners on core 1.
The delay is from when the sandbox began to write an event until a listener has it. Medians of ${rounds} rounds in turn, ${RUN_MS / 1000} s each.
`);
    const direct: Heard[] = [];
    const routed: Heard[] = [];
    const cpu: number[] = [];
    for (let round = 0; round < rounds; round++) {
      direct.push(await listen(world.upstreamPort, '', {}));
      const before = cpuTimeUs(router.process.pid);
      const heard = await listen(Number(port), pathname, router.headers);
      cpu.push((cpuTimeUs(router.process.pid) - before) / heard.events);
      routed.push(heard);
    }
    const middle = (list: Heard[], field: keyof Heard) =>
      Math.round(median(list.map((each) => each[field])) * 100) / 100;
    const figures = {
      direct: { p50Ms: middle(direct, 'p50Ms'), p99Ms: middle(direct, 'p99Ms') },
      routed: { p50Ms: middle(routed, 'p50Ms'), p99Ms: middle(routed, 'p99Ms') },
      eventsPerSecond: Math.round((middle(routed, 'events') * 1000) / RUN_MS),
      cpuPerEventUs: Math.round(median(cpu) * 10) / 10,
    };
    console.log(`directly p50 ${figures.direct.p50Ms} ms, p99 ${figures.direct.p99Ms} ms; through the router p50 ${figures.routed.p50Ms} ms, p99 ${figures.routed.p99Ms} ms
${figures.eventsPerSecond} events/s at ${figures.cpuPerEventUs} µs of the router's CPU each`);
    return { ...figures, rounds, machine: machine() };
  } finally {
    await world.close();
  }
}

interface Heard {
  events: number;
  p50Ms: number;
  p99Ms: number;
}

async function listen(port: number, prefix: string, headers: Record<string, string>): Promise<Heard> {
  const delaysMs: number[] = [];
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const sockets = Array.from({ length: LISTENERS }, (): Socket => {
    const socket = connect(port, '127.0.0.1');
    socket.write(
      `GET ${prefix}/events?n=${EVENTS_PER_SECOND} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n${fields.join('')}\r\n`,
    );
    socket.on('data', (chunk: Buffer) => {
      const nowMs = performance.timeOrigin + performance.now();
      for (const [, sentMs] of chunk.toString('latin1').matchAll(/data: ([\d.]+)/g))
        delaysMs.push(nowMs - Number(sentMs));
    });
    return socket;
  });
  await delay(1000);
  delaysMs.length = 0;
  await delay(RUN_MS);
  for (const socket of sockets) socket.destroy();
  return { events: delaysMs.length, p50Ms: percentile(delaysMs, 0.5), p99Ms: percentile(delaysMs, 0.99) };
}
