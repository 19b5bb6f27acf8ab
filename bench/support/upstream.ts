import { createServer } from 'node:http';

/** The sandbox's part in benches: `/` a small answer, `/bytes?n=` and `/json?n=` bodies of that size, POST counts what it gets. */
const bodies = new Map<string, Buffer>();

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
  const json = url.includes('/json');
  const body = bodies.get(url) ?? bodyOf(Number(url.slice(marker + 3)), json);
  bodies.set(url, body);
  const type = json ? 'application/json' : 'application/octet-stream';
  response.writeHead(200, { 'content-type': type, 'content-length': body.length }).end(body);
});
server.keepAliveTimeout = 0;
server.listen(Number(process.argv[2]), process.argv[3] ?? '127.0.0.1');

function bodyOf(sizeBytes: number, json: boolean): Buffer {
  return Buffer.from(json ? JSON.stringify('x'.repeat(sizeBytes - 2)) : 'x'.repeat(sizeBytes));
}
