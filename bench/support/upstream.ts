import { createServer, type ServerResponse } from 'node:http';

/**
 * The sandbox's part in benches, `upstream.ts <port> [host]`: `/` a small answer, `/bytes?n=` and `/json?n=` bodies of that size, `/stream?n=` one of any size,
 * `/events?n=` so many events a second; POST counts what it gets.
 */
const bodies = new Map<string, Buffer>();
const PIECE = Buffer.alloc(65_536, 'x');
/** By events a second: all who listen are told at once. */
const listeners = new Map<number, Set<ServerResponse>>();

const server = createServer((request, response) => {
  if (request.method === 'POST') {
    let sizeBytes = 0;
    request.on('data', (chunk: Buffer) => (sizeBytes += chunk.length));
    request.on('end', () => response.end(JSON.stringify({ sizeBytes })));
    return;
  }
  const url = request.url ?? '';
  const marker = url.indexOf('?n=');
  if (marker < 0) {
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 5 }).end('hello');
    return;
  }
  const count = Number(url.slice(marker + 3));
  if (url.includes('/stream')) stream(response, count);
  else if (url.includes('/events')) listen(response, count);
  else {
    const json = url.includes('/json');
    const body = bodies.get(url) ?? bodyOf(count, json);
    bodies.set(url, body);
    const type = json ? 'application/json' : 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'content-length': body.length }).end(body);
  }
});
server.keepAliveTimeout = 0;
server.listen(Number(process.argv[2]), process.argv[3] ?? '127.0.0.1');

function bodyOf(sizeBytes: number, json: boolean): Buffer {
  return Buffer.from(json ? JSON.stringify('x'.repeat(sizeBytes - 2)) : 'x'.repeat(sizeBytes));
}

function stream(response: ServerResponse, sizeBytes: number): void {
  response.writeHead(200, { 'content-length': sizeBytes });
  let left = sizeBytes;
  const go = () => {
    for (let room = true; left > 0 && room; left -= PIECE.length)
      room = response.write(left < PIECE.length ? PIECE.subarray(0, left) : PIECE);
    if (left <= 0) response.end();
    else response.once('drain', go);
  };
  go();
}

function listen(response: ServerResponse, eventsPerSecond: number): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
  const known = listeners.get(eventsPerSecond);
  const all = known ?? new Set();
  listeners.set(eventsPerSecond, all.add(response));
  response.on('close', () => all.delete(response));
  if (known !== undefined) return;
  setInterval(() => {
    for (const each of all) each.write(`data: ${performance.timeOrigin + performance.now()}\n\n`);
  }, 1000 / eventsPerSecond);
}
