import { InvalidResponseError } from './errors.ts';
import { CHUNKED, type Framing, framingOf, UNTIL_CLOSE } from './framing.ts';
import { parseFields, parseHead } from './response-head.ts';

/** Told what a {@link ResponseReader} finds. */
export interface ResponseSink {
  /** An interim answer (1xx), or the head of the final one. */
  head(status: number, reason: string, fields: string[]): void;
  /** A small body that came whole together with its head, as latin1. */
  whole(body: string): void;
  /** A part of the body, `from` to `to` of the bytes that are being read: they are overwritten later. */
  data(bytes: Buffer, from: number, to: number): void;
  /** The answer is complete. */
  end(trailers: string[]): void;
}

/** Heads and trailers may have so many bytes. */
const MOST_HEAD_BYTES = 65_536;
/** So many bytes are looked through for the end of a head at first. */
const FIRST_LOOK_BYTES = 4096;
/** A chunk's size line, extensions included. */
const MOST_LINE_BYTES = 4096;
/** Bodies up to this length are given as text if they came whole: one write then takes head and body. */
const WHOLE_BYTES = 4096;
const MOST_SIZE_DIGITS = 12;

const CR = 0x0d;
const LF = 0x0a;
const TAB = 0x09;
const EMPTY_LINE = '\r\n\r\n';

/** What comes next. */
const IDLE = 0;
const HEAD = 1;
const BODY = 2;
const REST = 3;
const CHUNK_SIZE = 4;
const CHUNK_EXTENSION = 5;
const CHUNK_SIZE_LF = 6;
const CHUNK_DATA = 7;
const CHUNK_DATA_CR = 8;
const CHUNK_DATA_LF = 9;
const TRAILERS = 10;

/**
 * Reads answers in HTTP/1.1 from one connection, one for each {@link begin}, strictly by RFC 9112: whatever could be understood in two ways is refused. Bounded:
 * it keeps nothing but the part of a head that has come.
 */
export class ResponseReader {
  /** Milliseconds for which the connection may be kept after the answer; see {@link Framing}. */
  keepMs = 0;
  private readonly sink: ResponseSink;
  private state = IDLE;
  private method = '';
  /** Bytes that are still to come of a body with a length, or of a chunk. */
  private left = 0;
  /** Digits of a chunk's size, or bytes of its line, so far. */
  private lineBytes = 0;
  /** A head or trailers of which the end has not come; a character is a byte. */
  private held = '';

  constructor(sink: ResponseSink) {
    this.sink = sink;
  }

  /** Expects the answer to a request of this method. */
  begin(method: string): void {
    this.method = method;
    this.state = HEAD;
  }

  /** Whether no answer is expected, or the one that was is complete. */
  get isIdle(): boolean {
    return this.state === IDLE;
  }

  /** Bytes of the body that are known to come; 0 where none are, or nobody knows. */
  get bytesLeft(): number {
    return this.state === BODY || this.state === CHUNK_DATA ? this.left : 0;
  }

  /** Takes the first `length` bytes. @throws InvalidResponseError, after which the reader is of no more use */
  read(bytes: Buffer, length: number): void {
    let at = 0;
    while (at < length) {
      switch (this.state) {
        case IDLE:
          throw new InvalidResponseError('bytes that nobody asked for');
        case HEAD:
          at = this.readHead(bytes, at, length);
          break;
        case BODY:
        case CHUNK_DATA:
          at = this.readData(bytes, at, length);
          break;
        case REST:
          this.sink.data(bytes, at, length);
          return;
        case TRAILERS:
          at = this.readTrailers(bytes, at, length);
          break;
        default:
          this.readChunkByte(bytes[at++] as number);
      }
    }
  }

  /** The connection has ended. @returns whether that was the end of an answer, or of none */
  finish(): boolean {
    if (this.state === REST) this.complete([]);
    return this.state === IDLE;
  }

  private readHead(bytes: Buffer, at: number, length: number): number {
    if (this.held !== '') {
      const end = this.hold(bytes, at, length);
      if (end < 0) {
        requireHttp(this.held);
        return length;
      }
      const text = this.held;
      this.held = '';
      this.takeHead(text.slice(0, -EMPTY_LINE.length));
      return end;
    }
    const look = Math.min(length, at + FIRST_LOOK_BYTES);
    const text = bytes.toString('latin1', at, look);
    const end = text.indexOf(EMPTY_LINE);
    if (end < 0) {
      requireHttp(text);
      this.held = text;
      return look;
    }
    const bodyAt = end + EMPTY_LINE.length;
    this.takeHead(text.slice(0, end));
    if (this.state === BODY && this.left <= WHOLE_BYTES && this.left === length - at - bodyAt) {
      const body = length === look ? text.slice(bodyAt) : text.slice(bodyAt) + bytes.toString('latin1', look, length);
      this.left = 0;
      this.sink.whole(body);
      this.complete([]);
      return length;
    }
    return at + bodyAt;
  }

  /** @throws InvalidResponseError */
  private takeHead(text: string): void {
    const head = parseHead(text);
    const { status, reason, fields } = head;
    if (status < 200) {
      if (status === 101) throw new InvalidResponseError('a switch of protocols that nobody asked for');
      this.sink.head(status, reason, fields);
      return;
    }
    const { length, keepMs }: Framing = framingOf(head, this.method);
    this.keepMs = keepMs;
    this.left = length;
    this.state = length === CHUNKED ? CHUNK_SIZE : length === UNTIL_CLOSE ? REST : BODY;
    if (length === CHUNKED) this.beginChunk();
    this.sink.head(status, reason, fields);
    if (length === 0) this.complete([]);
  }

  private readData(bytes: Buffer, at: number, length: number): number {
    const end = Math.min(length, at + this.left);
    this.left -= end - at;
    const done = this.left === 0;
    if (done && this.state === CHUNK_DATA) this.state = CHUNK_DATA_CR;
    this.sink.data(bytes, at, end);
    if (done && this.state === BODY) this.complete([]);
    return end;
  }

  private beginChunk(): void {
    this.state = CHUNK_SIZE;
    this.left = 0;
    this.lineBytes = 0;
  }

  private readChunkByte(byte: number): void {
    switch (this.state) {
      case CHUNK_SIZE: {
        const digit = hexDigit(byte);
        if (digit >= 0) {
          if (++this.lineBytes > MOST_SIZE_DIGITS) throw new InvalidResponseError('a chunk that is too large');
          this.left = this.left * 16 + digit;
          return;
        }
        if (this.lineBytes === 0) throw new InvalidResponseError('a chunk without size');
        if (byte === CR) this.state = CHUNK_SIZE_LF;
        else if (byte === 0x3b || byte === 0x20 || byte === TAB) this.state = CHUNK_EXTENSION;
        else throw new InvalidResponseError('a chunk without size');
        return;
      }
      case CHUNK_EXTENSION:
        if (byte === CR) this.state = CHUNK_SIZE_LF;
        else if ((byte < 0x20 && byte !== TAB) || byte === 0x7f || ++this.lineBytes > MOST_LINE_BYTES)
          throw new InvalidResponseError('a chunk extension that may not be');
        return;
      case CHUNK_SIZE_LF:
        expect(byte, LF);
        // The end of the line before begins what the empty line ends, where no trailers come.
        if (this.left === 0) {
          this.held = '\r\n';
          this.state = TRAILERS;
        } else this.state = CHUNK_DATA;
        return;
      case CHUNK_DATA_CR:
        expect(byte, CR);
        this.state = CHUNK_DATA_LF;
        return;
      case CHUNK_DATA_LF:
        expect(byte, LF);
        this.beginChunk();
    }
  }

  private readTrailers(bytes: Buffer, at: number, length: number): number {
    const end = this.hold(bytes, at, length);
    if (end < 0) return length;
    const text = this.held;
    this.held = '';
    this.complete(text.length <= EMPTY_LINE.length ? [] : parseFields(text.slice(2, -EMPTY_LINE.length), 0));
    return end;
  }

  /** Adds bytes to what is held, up to an empty line. @returns where that ends, -1 if it has not come */
  private hold(bytes: Buffer, at: number, length: number): number {
    const before = this.held.length;
    const text = bytes.toString('latin1', at, Math.min(length, at + MOST_HEAD_BYTES));
    const overlap = this.held.slice(-EMPTY_LINE.length + 1);
    const found = (overlap + text).indexOf(EMPTY_LINE);
    const taken = found < 0 ? text.length : found + EMPTY_LINE.length - overlap.length;
    if (before + taken > MOST_HEAD_BYTES) throw new InvalidResponseError('a head that is too long');
    this.held += found < 0 ? text : text.slice(0, taken);
    return found < 0 ? -1 : at + taken;
  }

  private complete(trailers: string[]): void {
    this.state = IDLE;
    this.sink.end(trailers);
  }
}

/** What is no HTTP is found out before it is long. */
function requireHttp(begin: string): void {
  if (!'HTTP/1.'.startsWith(begin.slice(0, 7))) throw new InvalidResponseError('no status line of HTTP/1.1');
}

function expect(byte: number, wanted: number): void {
  if (byte !== wanted) throw new InvalidResponseError('a chunk that does not end where it should');
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
