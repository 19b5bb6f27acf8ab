import { createServer } from 'node:http';

/** The sandbox's part in benches: `/` a small answer, `/bytes?n=` a body of that size, POST counts what it gets. */
const bodies = new Map<number, Buffer>();

const server = createServer((request, response) => {
  if (request.method === 'POST') {
    let sizeBytes = 0;
    request.on('data', (chunk: Buffer) => (sizeBytes += chunk.length));
    request.on('end', () => response.end(JSON.stringify({ sizeBytes })));
    return;
  }
  const marker = request.url?.indexOf('bytes?n=') ?? -1;
  if (marker < 0) {
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 5 }).end('hello');
    return;
  }
  const sizeBytes = Number(request.url?.slice(marker + 8));
  const body = bodies.get(sizeBytes) ?? Buffer.alloc(sizeBytes, 'x');
  bodies.set(sizeBytes, body);
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': sizeBytes }).end(body);
});
server.keepAliveTimeout = 0;
server.listen(Number(process.argv[2]), process.argv[3] ?? '127.0.0.1');
