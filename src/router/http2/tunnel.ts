import { createHash } from 'node:crypto';
import { constants, type ServerHttp2Stream } from 'node:http2';
import { Duplex } from 'node:stream';

/** RFC 6455 section 1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** Fields of an answer to an upgrade that HTTP/2 has no place for (RFC 9113 section 8.2.2, RFC 8441 section 5). */
const OF_HTTP1 = new Set([
  'connection',
  'upgrade',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'sec-websocket-accept',
]);
/** A head is our own or one that was parsed before; this is only a bound. */
const MAX_HEAD_BYTES = 131_072;

/**
 * The stream of an extended CONNECT (RFC 8441) as the socket of an upgrade: who answers it writes an answer of HTTP/1.1, of which the head becomes one of
 * HTTP/2, with 200 in place of 101. After a 101 bytes go both ways, before it none do.
 */
export class Http2Tunnel extends Duplex {
  private readonly stream: ServerHttp2Stream;
  private readonly key: string;
  /** What came of the head so far; undefined once it was sent. */
  private head: Buffer | undefined = Buffer.alloc(0);

  /** `key` is the Sec-WebSocket-Key that the sandbox gets; empty where it is no WebSocket. */
  constructor(stream: ServerHttp2Stream, key: string) {
    super({ allowHalfOpen: true });
    this.stream = stream;
    this.key = key;
    stream.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) stream.pause();
    });
    stream.on('end', () => this.push(null));
    stream.on('error', () => this.destroy());
    // One that ended well may still be read.
    stream.on('close', () => (stream.rstCode === constants.NGHTTP2_NO_ERROR ? undefined : this.destroy()));
    stream.pause();
  }

  override _read(): void {
    this.stream.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const { stream } = this;
    if (stream.destroyed || stream.closed) {
      done();
      return;
    }
    let rest = chunk;
    if (this.head !== undefined) {
      this.head = Buffer.concat([this.head, chunk]);
      const end = this.head.indexOf('\r\n\r\n');
      if (end < 0) {
        done(this.head.length > MAX_HEAD_BYTES ? new Error('the head of an answer is too long') : null);
        return;
      }
      const text = this.head.toString('latin1', 0, end);
      rest = this.head.subarray(end + 4);
      this.head = undefined;
      const refused = this.answer(text);
      if (refused !== undefined) {
        done(refused);
        return;
      }
    }
    if (rest.length === 0 || stream.write(rest)) done();
    else stream.once('drain', done);
  }

  /** Whether a sandbox that switches protocols means this handshake: its client can't see that, as HTTP/2 has no place for the answer to the key. */
  accepts(accept: string | undefined): boolean {
    return this.key === '' || accept === acceptOf(this.key);
  }

  /** Sends a head. Returns what is wrong with it. */
  private answer(text: string): Error | undefined {
    const [start = '', ...lines] = text.split('\r\n');
    const status = Number(start.split(' ')[1]);
    const headers: string[] = [];
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      if (!OF_HTTP1.has(name)) headers.push(name, line.slice(colon + 1).trim());
    }
    try {
      this.stream.respond([':status', status === 101 ? '200' : String(status), ...headers] as never);
      return undefined;
    } catch (error) {
      // A status or a field that HTTP/2 does not know.
      return error as Error;
    }
  }

  override _final(done: () => void): void {
    this.stream.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { stream } = this;
    const whole = this.writableFinished && this.readableEnded;
    if (!whole && !stream.destroyed && !stream.closed)
      stream.close(error === null ? constants.NGHTTP2_CANCEL : constants.NGHTTP2_INTERNAL_ERROR);
    done(error);
  }

  /** Ends it so that the client sees that something is missing. */
  resetAndDestroy(): void {
    if (!this.stream.destroyed) this.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    this.destroy();
  }
}

function acceptOf(key: string): string {
  return createHash('sha1')
    .update(key + ACCEPT_GUID)
    .digest('base64');
}
