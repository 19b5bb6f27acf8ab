import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** One WebSocket of the counter: whole text and binary messages (RFC 6455), enough for a demonstration. */
export interface ServerSocket {
  send(text: string): void;
}

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const MOST_MESSAGE_BYTES = 2 ** 20;

/** Accepts an upgrade and calls back with each message; pings are answered, a close is echoed. */
export function acceptWebSocket(
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
  onMessage: (text: string, reply: ServerSocket) => void,
): void {
  const key = request.headers['sec-websocket-key'] ?? '';
  const accept = createHash('sha1')
    .update(key + GUID)
    .digest('base64');
  socket.setNoDelay(true);
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  const reply = { send: (text: string) => void socket.write(frame(1, Buffer.from(text))) };
  let rest = Buffer.alloc(0);
  let message: Buffer[] = [];
  const read = (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    for (let parsed = parseFrame(rest); parsed !== undefined; parsed = parseFrame(rest)) {
      rest = rest.subarray(parsed.lengthBytes);
      if (parsed.opcode === 8) socket.end(frame(8, parsed.payload));
      else if (parsed.opcode === 9) socket.write(frame(10, parsed.payload));
      else if (parsed.opcode < 3) {
        message.push(parsed.payload);
        if (!parsed.final) continue;
        onMessage(Buffer.concat(message).toString(), reply);
        message = [];
      }
    }
    if (rest.length > MOST_MESSAGE_BYTES) socket.destroy();
  };
  socket.on('data', read).on('error', () => socket.destroy());
  if (head.length > 0) read(head);
}

function parseFrame(
  bytes: Buffer,
): { final: boolean; opcode: number; payload: Buffer; lengthBytes: number } | undefined {
  if (bytes.length < 2) return undefined;
  const first = bytes.readUInt8(0);
  const second = bytes.readUInt8(1);
  const short = second & 0x7f;
  const lengthEnd = short === 126 ? 4 : short === 127 ? 10 : 2;
  const masked = (second & 0x80) !== 0;
  const start = lengthEnd + (masked ? 4 : 0);
  if (bytes.length < start) return undefined;
  const sizeBytes = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
  if (bytes.length < start + sizeBytes) return undefined;
  const payload = Buffer.from(bytes.subarray(start, start + sizeBytes));
  if (masked)
    for (let index = 0; index < payload.length; index++)
      payload[index] = (payload[index] as number) ^ (bytes[lengthEnd + (index & 3)] as number);
  return { final: (first & 0x80) !== 0, opcode: first & 0x0f, payload, lengthBytes: start + sizeBytes };
}

function frame(opcode: number, payload: Buffer): Buffer {
  const long = payload.length > 125;
  const head = Buffer.alloc(long ? 4 : 2);
  head.writeUInt8(0x80 | opcode, 0);
  head.writeUInt8(long ? 126 : payload.length, 1);
  if (long) head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}
