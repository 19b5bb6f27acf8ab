import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Head of a message as it came: first line, and fields with the case, order and number that they had. */
export interface RawHead {
  line: string;
  fields: [name: string, value: string][];
  /** Values of a field, by its name in any case. */
  values(name: string): string[];
}

const PATIENCE_MS = 20_000;

/** One end of a TCP connection that a test scripts byte by byte; what comes waits until it is taken. Text is latin1: a character is a byte. */
export class RawConnection {
  readonly socket: Socket;
  /** What came and was not taken. */
  pending: Buffer = Buffer.alloc(0);
  receivedBytes = 0;
  /** The other side sent its FIN. */
  ended = false;
  closed = false;
  /** The connection was reset, or broke otherwise. */
  error: Error | undefined;
  private readonly changed = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
      this.pending = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
      this.tell();
    });
    socket.on('end', () => {
      this.ended = true;
      this.tell();
    });
    socket.on('error', (error) => {
      this.error = error;
      this.tell();
    });
    socket.on('close', () => {
      this.closed = true;
      this.tell();
    });
  }

  private tell(): void {
    for (const check of this.changed) check();
  }

  /** Waits until what came satisfies `probe`. @throws Error with what came when it doesn't in time, or can't any more */
  wait<Value>(what: string, probe: () => Value | undefined | false): Promise<Value> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        this.changed.delete(check);
        settle();
      };
      const fail = (why: string) =>
        finish(() =>
          reject(
            new Error(`${what}: ${why}; so far ${JSON.stringify(this.pending.subarray(0, 600).toString('latin1'))}`),
          ),
        );
      const check = () => {
        const value = probe();
        if (value !== undefined && value !== false) finish(() => resolve(value));
        else if (this.closed) fail(`the connection is closed (${this.error?.message ?? 'without error'})`);
      };
      const timer = setTimeout(() => fail(`not within ${PATIENCE_MS} ms`), PATIENCE_MS);
      this.changed.add(check);
      check();
    });
  }

  write(text: string | Buffer): void {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
  }

  /** Takes exactly so many bytes. */
  async take(bytes: number): Promise<string> {
    await this.wait(`${bytes} bytes`, () => this.pending.length >= bytes);
    const taken = this.pending.subarray(0, bytes).toString('latin1');
    this.pending = this.pending.subarray(bytes);
    return taken;
  }

  /** Takes everything up to and with the mark. */
  async takeThrough(mark: string): Promise<string> {
    const at = await this.wait(JSON.stringify(mark), () => {
      const found = this.pending.indexOf(mark, 0, 'latin1');
      return found < 0 ? undefined : { found };
    });
    return this.take(at.found + mark.length);
  }

  /** Takes the head of a message. */
  async takeHead(): Promise<RawHead> {
    const [line = '', ...lines] = (await this.takeThrough('\r\n\r\n')).slice(0, -4).split('\r\n');
    const fields = lines.map((field): [string, string] => {
      const colon = field.indexOf(':');
      return [field.slice(0, colon), field.slice(colon + 1).replace(/^ /, '')];
    });
    const values = (name: string) =>
      fields.filter(([each]) => each.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
    return { line, fields, values };
  }

  /** Takes a chunked body to its end: the data, and the trailers as they came. */
  async takeChunked(): Promise<{ data: string; trailers: string }> {
    let data = '';
    for (;;) {
      const bytes = Number.parseInt(await this.takeThrough('\r\n'), 16);
      if (bytes === 0) break;
      data += (await this.take(bytes + 2)).slice(0, -2);
    }
    let trailers = '';
    for (;;) {
      const line = await this.takeThrough('\r\n');
      if (line === '\r\n') return { data, trailers };
      trailers += line;
    }
  }

  /** Takes everything until the other side ends. @throws Error if the connection breaks instead */
  async takeRest(): Promise<string> {
    await this.wait('the end', () => this.ended);
    return this.take(this.pending.length);
  }

  /** Waits for the end, clean or not. */
  async untilClosed(): Promise<void> {
    await this.wait('the end', () => this.ended || this.closed || this.error !== undefined);
  }

  /** Sends a RST: what a process that is killed with unread data leaves behind. */
  reset(): void {
    this.socket.resetAndDestroy();
  }
}

/** Connects to a URL's host and port. */
export async function rawClient(url: string): Promise<RawConnection> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  const connection = new RawConnection(socket);
  await once(socket, 'connect');
  return connection;
}

/** A TCP server whose every connection the test scripts. */
export interface RawUpstream {
  port: number;
  /** Connections so far. */
  connections: RawConnection[];
  /** The next connection that no caller has had. */
  accept(): Promise<RawConnection>;
  close(): Promise<void>;
}

/** Listens on loopback; on a free port unless one is given. `serve` is called with every connection. */
export async function rawUpstream(serve?: (connection: RawConnection) => unknown, port = 0): Promise<RawUpstream> {
  const connections: RawConnection[] = [];
  const waiting: ((connection: RawConnection) => void)[] = [];
  let handed = 0;
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    const connection = new RawConnection(socket);
    connections.push(connection);
    // A script that the other side cuts short ends with it; what a test wants to know of it, it asks itself.
    if (serve !== undefined) Promise.resolve(serve(connection)).catch(() => socket.destroy());
    waiting.shift()?.(connections[handed++] as RawConnection);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as { port: number }).port,
    connections,
    accept: () =>
      handed < connections.length
        ? Promise.resolve(connections[handed++] as RawConnection)
        : new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error('nobody connected')), PATIENCE_MS);
            waiting.push((connection) => {
              clearTimeout(timer);
              resolve(connection);
            });
          }),
    close: async () => {
      for (const { socket } of connections) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
