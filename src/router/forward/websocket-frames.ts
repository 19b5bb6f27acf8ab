/**
 * Follows where frames begin in one direction of a WebSocket (RFC 6455 section 5.2) without looking at what they carry: a frame of our own may
 * stand only between two others.
 */
export interface FrameTracker {
  /** Number of bytes of the chunk up to the first place between two frames, 0 if it begins at one; -1 if it has none. */
  boundaryIn(chunk: Buffer): number;
  /** Goes on past the whole chunk; whether it had anything of a data frame, and not of control frames alone (ping, pong, close). */
  advance(chunk: Buffer): boolean;
  atBoundary(): boolean;
  /** Whether a whole message is the last thing that came: between its frames stand control frames alone. */
  betweenMessages(): boolean;
}

/** A tracker at the beginning of a direction. */
export function createFrameTracker(): FrameTracker {
  return new Tracker();
}

/** A class, as there are two for each of many idle sockets, and closures weigh more. */
class Tracker implements FrameTracker {
  /** Bytes of a head that came in parts; a head has 2 to 14. */
  private head: Buffer | undefined;
  private headBytes = 0;
  private payloadBytes = 0;
  /** Whether the current frame carries data: its opcode is below 8. */
  private data = false;
  /** Whether a message goes on in another frame. */
  private fragmented = false;

  atBoundary(): boolean {
    return this.headBytes === 0 && this.payloadBytes === 0;
  }

  betweenMessages(): boolean {
    return this.atBoundary() && !this.fragmented;
  }

  boundaryIn(chunk: Buffer): number {
    if (this.atBoundary()) return 0;
    let position = 0;
    while (position < chunk.length) {
      position = this.step(chunk, position);
      if (this.atBoundary()) return position;
    }
    return -1;
  }

  advance(chunk: Buffer): boolean {
    let position = 0;
    let moved = false;
    while (position < chunk.length) {
      position = this.step(chunk, position);
      moved ||= this.data;
    }
    return moved;
  }

  /** Consumes bytes of the chunk from `at` up to the end of a frame or of the chunk; returns where it stopped. */
  private step(chunk: Buffer, at: number): number {
    let position = at;
    if (this.payloadBytes === 0) {
      this.head ??= Buffer.alloc(14);
      const { head } = this;
      while (position < chunk.length) {
        head[this.headBytes++] = chunk[position++] as number;
        const wanted = headLength(head, this.headBytes);
        if (this.headBytes < wanted) continue;
        this.payloadBytes = payloadLength(head);
        this.data = ((head[0] as number) & 0x0f) < 8;
        if (this.data) this.fragmented = ((head[0] as number) & 0x80) === 0;
        this.headBytes = 0;
        if (this.payloadBytes === 0) return position;
        break;
      }
    }
    const taken = Math.min(this.payloadBytes, chunk.length - position);
    this.payloadBytes -= taken;
    return position + taken;
  }
}

/** A close frame as a server sends it (RFC 6455 section 5.5.1); the reason has at most 123 bytes. */
export function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason).subarray(0, 123);
  return Buffer.concat([Buffer.from([0x88, text.length + 2, code >> 8, code & 0xff]), text]);
}

function headLength(head: Buffer, known: number): number {
  if (known < 2) return 2;
  const second = head[1] as number;
  const length = second & 0x7f;
  return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + ((second & 0x80) === 0 ? 0 : 4);
}

function payloadLength(head: Buffer): number {
  const length = (head[1] as number) & 0x7f;
  if (length === 126) return head.readUInt16BE(2);
  if (length === 127) return Number(head.readBigUInt64BE(2));
  return length;
}
