import { connect, type Socket } from 'node:net';

/** Where requests go, and what they ask for. */
export interface SteadyWay {
  port: number;
  path: string;
  headers: Record<string, string>;
}

/** Requests at a fixed rate. */
export interface SteadyRequests {
  perSecond: number;
  durationMs: number;
  /** Of that, what does not count: whoever rested meanwhile finds its caches cold. */
  settleMs: number;
}

/** Connections that stay open, one run of requests after another. */
export interface SteadyClient {
  /**
   * Sends requests when they are due, evenly spread, however long others take; one that finds all connections in use waits for the first that is free, and its
   * time counts. Resolves with milliseconds from when each that counts was due until its answer was there, in the order of the answers. Keeps its core busy, as
   * timers are too coarse for microseconds. @throws Error with a connection that ends
   */
  send(requests: SteadyRequests): Promise<Float64Array>;
}

/** A connection, and when its request was due. */
interface Waiting {
  socket: Socket;
  dueMs: number;
}

/** What a small answer of the bench's sandbox ends with. */
const END = 'o'.charCodeAt(0);
const CONNECTIONS = 200;
/** How often it is looked whether an answer has come: each look leaves garbage. */
const LOOK_MS = 0.02;

/** Opens the connections of a way; what a connection costs is not asked here. */
export async function openSteadyClient({ port, path, headers }: SteadyWay): Promise<SteadyClient> {
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const bytes = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: bench\r\n${fields.join('')}\r\n`);
  const shared = Buffer.allocUnsafeSlow(65_536);
  const idle: Waiting[] = [];
  let answeredNow: (waiting: Waiting, nowMs: number) => void;
  let failed: (error: Error) => void;

  await untilAllAnswered(() => {
    for (let index = 0; index < CONNECTIONS; index++) open();
  });
  return {
    send: async (requests) => {
      // Those that the last run did not need must not be closed as idle.
      await untilAllAnswered(() => {
        for (const { socket } of idle.splice(0)) socket.write(bytes);
      });
      return sendSteadily(requests);
    },
  };

  function untilAllAnswered(ask: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      answeredNow = () => (idle.length === CONNECTIONS ? resolve() : undefined);
      failed = reject;
      ask();
    });
  }

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
          idle.push(waiting);
          answeredNow(waiting, performance.now());
          return true;
        },
      },
    });
    const waiting = { socket, dueMs: 0 };
    socket.on('connect', () => socket.write(bytes));
    socket.on('error', (error) => failed(error));
    socket.on('close', () => failed(new Error(`a connection to port ${port} was closed`)));
  }

  function sendSteadily({ perSecond, durationMs, settleMs }: SteadyRequests): Promise<Float64Array> {
    const total = Math.floor((perSecond * durationMs) / 1000);
    const samples = new Float64Array(total);
    const startMs = performance.now();
    let counted = 0;
    let sent = 0;
    let answered = 0;

    function sendDue(nowMs: number): void {
      for (; sent < total; sent++) {
        const due = startMs + (sent * 1000) / perSecond;
        const waiting = due > nowMs ? undefined : idle.pop();
        if (waiting === undefined) return;
        waiting.dueMs = due;
        waiting.socket.write(bytes);
      }
    }

    function tick(): void {
      const lookMs = performance.now() + LOOK_MS;
      let nowMs: number;
      do {
        nowMs = performance.now();
        sendDue(nowMs);
      } while (sent < total && nowMs < lookMs);
      if (sent < total) setImmediate(tick);
    }

    return new Promise((resolve, reject) => {
      failed = reject;
      answeredNow = (waiting, nowMs) => {
        if (waiting.dueMs - startMs >= settleMs) samples[counted++] = nowMs - waiting.dueMs;
        answered++;
        if (answered === total) resolve(samples.slice(0, counted));
        else sendDue(nowMs);
      };
      tick();
    });
  }
}
