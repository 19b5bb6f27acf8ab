import type { Socket } from 'node:net';

/** What a load looks at of an answer. */
export interface LeanAnswer {
  status: number;
  body: string;
}

/** Kept HTTP/1.1 connections that cost their process as little as can be: it shares its cores with what it measures. */
export interface LeanConnections {
  /** Sends a request as it is to be written, on a connection that nobody else uses meanwhile; waits for one where all are in use. @throws Error with a connection that fails */
  send(request: string): Promise<LeanAnswer>;
  close(): void;
}

interface Sending {
  request: string;
  resolve(answer: LeanAnswer): void;
  reject(error: Error): void;
}

/** Connections made by `open` when they are needed, `most` of them. Answers are those of servers that are known: with a length, or in chunks without trailers. */
export function createLeanConnections(open: () => Socket, most: number): LeanConnections {
  const idle: ((sending: Sending) => void)[] = [];
  const waiting: Sending[] = [];
  const sockets = new Set<Socket>();

  function connect(): (sending: Sending) => void {
    const socket = open();
    let current: Sending | undefined;
    let read = '';
    const start = (sending: Sending) => {
      current = sending;
      socket.write(sending.request);
    };
    const end = (error: Error) => {
      sockets.delete(socket);
      const index = idle.indexOf(start);
      if (index >= 0) idle.splice(index, 1);
      current?.reject(error);
      current = undefined;
    };
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      read += chunk.toString('latin1');
      const answer = answerOf(read);
      if (answer === undefined) return;
      read = '';
      const ended = current;
      const next = waiting.shift();
      current = undefined;
      if (next === undefined) idle.push(start);
      else start(next);
      ended?.resolve(answer);
    });
    socket.on('error', end);
    socket.on('close', () => end(new Error('the connection was closed')));
    return start;
  }

  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        const sending = { request, resolve, reject };
        const start = idle.pop() ?? (sockets.size < most ? connect() : undefined);
        if (start === undefined) waiting.push(sending);
        else start(sending);
      }),
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** The answer that was read; undefined until all of it was. */
function answerOf(read: string): LeanAnswer | undefined {
  const headEnd = read.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const status = Number(read.slice(9, 12));
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(read)?.[1];
  if (length === undefined)
    return read.endsWith('\r\n0\r\n\r\n') ? { status, body: joinChunks(read, headEnd + 4) } : undefined;
  const body = read.slice(headEnd + 4);
  return body.length < Number(length) ? undefined : { status, body };
}

function joinChunks(read: string, from: number): string {
  let body = '';
  for (let start = from; ; ) {
    const lineEnd = read.indexOf('\r\n', start);
    const sizeBytes = Number.parseInt(read.slice(start, lineEnd), 16);
    if (!(sizeBytes > 0)) return body;
    body += read.slice(lineEnd + 2, lineEnd + 2 + sizeBytes);
    start = lineEnd + 2 + sizeBytes + 2;
  }
}
