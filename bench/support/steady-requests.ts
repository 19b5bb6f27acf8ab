import { connect, type Socket } from 'node:net';

/** Requests at a fixed rate. */
export interface SteadyRequests {
  port: number;
  path: string;
  headers: Record<string, string>;
  perSecond: number;
  durationMs: number;
  /** Of that, what does not count: whoever rested meanwhile finds its caches cold. */
  settleMs: number;
}

/** What a small answer of the bench's sandbox ends with. */
const END = 'o'.charCodeAt(0);
/** A request that is due while all are in use waits for the first that is free, and its time counts. */
const CONNECTIONS = 200;
/** How often it is looked whether an answer has come: each look leaves garbage. */
const LOOK_MS = 0.02;

/**
 * Sends requests when they are due, evenly spread, however long others take. Resolves with milliseconds from when
 * each that counts was due until its answer was there, in the order of the answers. Each connection has had one answer before: what a connection costs is not asked here. Keeps its core busy, as
 * timers are too coarse for microseconds.
 */
export async function steadyRequests(load: SteadyRequests): Promise<Float64Array> {
  const { port, path, headers, perSecond, durationMs, settleMs } = load;
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const bytes = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: bench\r\n${fields.join('')}\r\n`);
  const total = Math.floor((perSecond * durationMs) / 1000);
  const samples = new Float64Array(total);
  let counted = 0;
  const idle: Waiting[] = [];
  const all: Socket[] = [];
  const shared = Buffer.allocUnsafeSlow(65_536);
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let startMs = 0;
  let sent = 0;
  let answered = 0;

  function open(): void {
    const socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: shared,
        callback: (length, buffer) => {
          // Heads and bodies of small answers come in one piece, or the body comes last.
          if (buffer[length - 1] !== END) return true;
          const nowMs = performance.now();
          if (startMs === 0) {
            idle.push(waiting);
            if (idle.length === CONNECTIONS) ready.resolve();
            return true;
          }
          if (waiting.dueMs - startMs >= settleMs) samples[counted++] = nowMs - waiting.dueMs;
          answered++;
          if (answered === total) ended.resolve();
          idle.push(waiting);
          sendDue(nowMs);
          return true;
        },
      },
    });
    socket.on('connect', () => socket.write(bytes));
    socket.on('error', ready.reject).on('error', ended.reject);
    all.push(socket);
    const waiting = { socket, dueMs: 0 };
  }

  function sendDue(nowMs: number): void {
    for (; sent < total; sent++) {
      const due = startMs + (sent * 1000) / perSecond;
      const waiting = due > nowMs ? undefined : idle.pop();
      if (waiting === undefined) return;
      waiting.dueMs = due;
      waiting.socket.write(bytes);
    }
  }

  try {
    ended.promise.catch(() => {});
    for (let index = 0; index < CONNECTIONS; index++) open();
    await ready.promise;
    startMs = performance.now();
    const tick = (): void => {
      const lookMs = performance.now() + LOOK_MS;
      let nowMs: number;
      do {
        nowMs = performance.now();
        sendDue(nowMs);
      } while (sent < total && nowMs < lookMs);
      if (sent < total) setImmediate(tick);
    };
    tick();
    await ended.promise;
    return samples.slice(0, counted);
  } finally {
    for (const socket of all) socket.destroy();
  }
}

/** A connection, and when its request was due. */
interface Waiting {
  socket: Socket;
  dueMs: number;
}
