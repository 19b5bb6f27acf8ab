// A program whose connections are to outlive a pause: it numbers every message and event that it sends, and keeps a log of what became of its sockets.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

/** What happened to sockets here, in order. @type {string[]} */
const log = [];
/** @type {Set<import('node:http').ServerResponse>} */
const streams = new Set();
let messages = 0;
let events = 0;

const page = '<!doctype html><title>sleeper</title><link rel="icon" href="data:,">';

const server = createServer((request, response) => {
  const url = request.url ?? '/';
  if (url === '/') response.writeHead(200, { 'content-type': 'text/html' }).end(page);
  else if (url === '/log') response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(log));
  else if (url === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': open\n\n');
    streams.add(response);
    log.push('stream opened');
    response.on('close', () => {
      streams.delete(response);
      log.push('stream closed');
    });
  } else if (url === '/say') {
    events++;
    for (const stream of streams) stream.write(`id: ${events}\ndata: ${events}\n\n`);
    response.writeHead(200, { 'content-type': 'text/plain' }).end(String(streams.size));
  } else response.writeHead(404).end();
});

server.on('upgrade', (request, socket, head) => {
  const { upgrade = '' } = request.headers;
  const accept = createHash('sha1')
    .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');
  const [protocol = ''] = (request.headers['sec-websocket-protocol'] ?? '').split(',');
  const chosen = protocol === '' ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`;
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${upgrade}\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${chosen}\r\n`,
  );
  log.push('socket opened');
  let rest = Buffer.from(head);
  const read = (/** @type {Buffer} */ chunk) => {
    if (upgrade !== 'websocket') {
      socket.write(chunk);
      return;
    }
    rest = Buffer.concat([rest, chunk]);
    for (let frame = frameIn(rest); frame !== undefined; frame = frameIn(rest)) {
      rest = rest.subarray(frame.bytes);
      if (frame.opcode === 8) {
        log.push(`socket closed with ${frame.payload.length < 2 ? 'nothing' : frame.payload.readUInt16BE(0)}`);
        socket.end(frameOf(8, frame.payload));
      } else if (frame.opcode === 9) {
        log.push('ping');
        socket.write(frameOf(10, frame.payload));
      } else if (frame.opcode === 10) log.push('pong');
      else if (frame.payload.toString() === 'ping me') socket.write(frameOf(9, Buffer.from('are you there?')));
      else {
        const text = frame.payload.length < 100 ? frame.payload.toString('latin1') : `${frame.payload.length} bytes`;
        socket.write(frameOf(1, Buffer.from(JSON.stringify({ number: ++messages, opcode: frame.opcode, text }))));
      }
    }
  };
  socket.on('data', read);
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('close', () => log.push('socket gone'));
  if (head.length > 0) read(Buffer.alloc(0));
});

/** @param {Buffer} bytes */
function frameIn(bytes) {
  if (bytes.length < 2) return undefined;
  const short = bytes.readUInt8(1) & 0x7f;
  const lengthEnd = short === 126 ? 4 : short === 127 ? 10 : 2;
  const start = lengthEnd + 4;
  if (bytes.length < start) return undefined;
  const size = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
  if (bytes.length < start + size) return undefined;
  const payload = Buffer.from(bytes.subarray(start, start + size));
  for (let index = 0; index < size; index++)
    payload[index] = (payload[index] ?? 0) ^ (bytes[lengthEnd + (index & 3)] ?? 0);
  return { opcode: bytes.readUInt8(0) & 0x0f, payload, bytes: start + size };
}

/** A short frame as a server sends it. @param {number} opcode @param {Buffer} payload */
function frameOf(opcode, payload) {
  return Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload]);
}

server.listen(Number(process.env.SLEEPER_PORT ?? 8888), process.env.HOST ?? '0.0.0.0');
