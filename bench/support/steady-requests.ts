import { connect, type Socket } from 'node:net';

/** Requests at a fixed rate. */
export interface SteadyRequests {
  port: number;
  path: string;
  headers: Record<string, string>;
  perSecond: number;
  durationMs: number;
}

/** What a small answer of the bench's sandbox ends with. */
const END = 'hello';

/**
 * Sends requests when they are due, evenly spread, however long others take; each on a connection of its own while it lasts. Resolves with milliseconds from when
 * each was due until its answer was there. Keeps its core busy, as timers are too coarse for microseconds.
 */
export function steadyRequests({ port, path, headers, perSecond, durationMs }: SteadyRequests): Promise<number[]> {
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const bytes = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: bench\r\n${fields.join('')}\r\n`);
  const total = Math.floor((perSecond * durationMs) / 1000);
  const samples: number[] = [];
  const idle: Socket[] = [];
  const all: Socket[] = [];
  const dueMs = new Map<Socket, number>();
  return new Promise((resolve, reject) => {
    function open(): Socket {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      socket.on('data', (chunk: Buffer) => {
        // Heads and bodies of small answers come in one piece, or the body comes last.
        if (!chunk.subarray(-END.length).equals(Buffer.from(END))) return;
        samples.push(performance.now() - (dueMs.get(socket) ?? 0));
        idle.push(socket);
        if (samples.length === total) {
          for (const each of all) each.destroy();
          resolve(samples);
        }
      });
      socket.on('error', reject);
      all.push(socket);
      return socket;
    }
    const startMs = performance.now();
    let sent = 0;
    function tick(): void {
      const nowMs = performance.now();
      for (; sent < total; sent++) {
        const due = startMs + (sent * 1000) / perSecond;
        if (due > nowMs) break;
        const socket = idle.pop() ?? open();
        dueMs.set(socket, due);
        socket.write(bytes);
      }
      if (sent < total) setImmediate(tick);
    }
    tick();
  });
}
