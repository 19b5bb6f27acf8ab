import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { acceptWebSocket } from './websocket.ts';

/** A server whose whole state is in memory: what a pause must not lose. */
let n = 0;
/** Which start of it this is: an answer of another one, or of another sandbox, can be told. */
const instance = randomBytes(4).toString('hex');
const port = Number(process.env.PORT ?? 8080);
const host = process.env.SANDBOX_ADDRESS ?? '0.0.0.0';
const filePath = join(process.env.SANDBOX_WORKSPACE ?? '/workspace', 'file');
/** Memory that a snapshot has to carry; random, so that no page is like another. */
const ballast = Array.from({ length: Number(process.env.COUNTER_BALLAST_MB ?? 0) }, () => randomBytes(2 ** 20));

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://counter');
  switch (`${request.method} ${url.pathname}`) {
    case 'PUT /file':
    case 'POST /echo': {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        if (url.pathname === '/file') writeFileSync(filePath, body);
        response.end(url.pathname === '/file' ? `${body.length} bytes kept\n` : body);
      });
      return;
    }
    case 'GET /file':
      try {
        response.end(readFileSync(filePath));
      } catch {
        response.writeHead(404).end('no file yet\n');
      }
      return;
    case 'GET /sleep':
      setTimeout(() => response.end('slept\n'), Number(url.searchParams.get('ms')));
      return;
    case 'GET /headers':
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ url: request.url, headers: request.rawHeaders }));
      return;
    case 'GET /sse': {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => response.write(`data: ${++n}\n\n`), 200);
      response.on('close', () => clearInterval(timer));
      return;
    }
    default:
      response.setHeader('content-type', 'application/json');
      response.end(
        `${JSON.stringify({ n: ++n, instance, pid: process.pid, uptimeSeconds: Math.round(process.uptime()), ballastMb: ballast.length })}\n`,
      );
  }
});
server.on('upgrade', (request, socket, head) => {
  acceptWebSocket(request, socket as Socket, head, (text, reply) => reply.send(JSON.stringify({ n: ++n, echo: text })));
});
// Clocks jump over a checkpoint: an idle limit would close every kept connection at the first moment after it.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.listen(port, host, () => console.log(`counter listens on ${host}:${port}`));
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0));
