import { closeFrame } from './websocket-frames.ts';

/** What comes of a client's bytes while its sandbox sleeps: nothing that the sandbox is needed for, `data` that it is needed for, or the client's farewell. */
export type Arrived = 'nothing' | 'data' | 'farewell';

/** Takes what a client sends while nothing may go to its sandbox. */
export interface AsleepInbox {
  /** Bytes up to the first of data are looked at; from there on they are kept as they are. */
  take(chunk: Buffer): Arrived;
  /** Bytes that are kept. */
  sizeBytes(): number;
  /** All that the sandbox is yet to be sent, in order. */
  contents(): Buffer[];
}

/** A control frame as a client sends it: two bytes, a mask of four, and at most 125 more (RFC 6455 section 5.5). */
interface ControlFrame {
  opcode: number;
  sizeBytes: number;
  payload: Buffer;
}

const CLOSE = 8;
const PING = 9;
const PONG = 10;
const NORMAL_CLOSURE = 1000;

/**
 * Pings are answered at once and closing is agreed to; neither needs the sandbox, and it hears of the closing when it wakes. Of pongs it hears the latest, as it
 * may have asked before it slept. `midFrame` tells that part of a data frame has gone to it already: the rest is data whatever it looks like.
 */
export function createWebSocketInbox(midFrame: boolean, answer: (frame: Buffer) => void): AsleepInbox {
  let pong: Buffer | undefined;
  let beginning: Buffer | undefined;
  let farewell: Buffer | undefined;
  const data: Buffer[] = [];
  const contents = () => [pong, beginning, ...data, farewell].filter((bytes) => bytes !== undefined);

  function take(chunk: Buffer): Arrived {
    if (farewell !== undefined) return 'nothing';
    let bytes = beginning === undefined ? chunk : Buffer.concat([beginning, chunk]);
    beginning = undefined;
    while (bytes.length > 0) {
      const frame = midFrame || data.length > 0 ? 'data' : controlFrameIn(bytes);
      if (frame === 'data') {
        data.push(bytes);
        return 'data';
      }
      if (frame === undefined) {
        beginning = Buffer.from(bytes);
        break;
      }
      const { opcode, payload, sizeBytes } = frame;
      if (opcode === PING) answer(Buffer.concat([Buffer.from([0x80 | PONG, payload.length]), payload]));
      else if (opcode === PONG) pong = Buffer.from(bytes.subarray(0, sizeBytes));
      else {
        farewell = Buffer.from(bytes.subarray(0, sizeBytes));
        answer(closeFrame(payload.length < 2 ? NORMAL_CLOSURE : payload.readUInt16BE(0), ''));
        return 'farewell';
      }
      bytes = bytes.subarray(sizeBytes);
    }
    return 'nothing';
  }

  return { take, contents, sizeBytes: () => sizeOf(contents()) };
}

/** Of a protocol that the router does not know, every byte may need the sandbox. */
export function createByteInbox(): AsleepInbox {
  const data: Buffer[] = [];
  return {
    take: (chunk) => {
      data.push(chunk);
      return 'data';
    },
    contents: () => data,
    sizeBytes: () => sizeOf(data),
  };
}

/** The control frame at the beginning, undefined while part of it is yet to come; what is none is `data`, what makes no sense included: the sandbox may judge. */
function controlFrameIn(bytes: Buffer): ControlFrame | 'data' | undefined {
  const [first = 0, second] = bytes;
  const opcode = first & 0x0f;
  if (opcode < CLOSE || opcode > PONG || (first & 0xf0) !== 0x80) return 'data';
  if (second === undefined) return undefined;
  const payloadBytes = second & 0x7f;
  if (payloadBytes > 125 || (second & 0x80) === 0) return 'data';
  const sizeBytes = 6 + payloadBytes;
  if (bytes.length < sizeBytes) return undefined;
  const payload = Buffer.from(bytes.subarray(6, sizeBytes));
  for (let index = 0; index < payloadBytes; index++)
    payload[index] = (payload[index] as number) ^ (bytes[2 + (index % 4)] as number);
  return { opcode, payload, sizeBytes };
}

function sizeOf(list: readonly Buffer[]): number {
  return list.reduce((sum, { length }) => sum + length, 0);
}
