// What sandboxes of tests run, in real containers and in the stand-in of a kubelet alike: it tells what reached it.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

/** @param {string} name @returns {import('node:http').Server} */
export function createEcho(name) {
  let n = 0;
  const server = createServer((request, response) => {
    const url = request.url ?? '/';
    const json = (/** @type {unknown} */ value, /** @type {Record<string, string>} */ headers = {}) => {
      const body = JSON.stringify(value);
      response
        .writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers })
        .end(request.method === 'HEAD' ? undefined : body);
    };
    const [, status] = /^\/status\/(\d+)/.exec(url) ?? [];
    if (status !== undefined) {
      response.writeHead(Number(status), { 'x-from': name }).end();
      return;
    }
    if (request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined) {
      response
        .writeHead(204, {
          'access-control-allow-origin': request.headers.origin ?? '*',
          'access-control-allow-methods': 'GET, PUT',
          'access-control-max-age': '60',
          vary: 'Origin',
        })
        .end();
      return;
    }
    if (url === '/cookie') {
      json({}, { 'set-cookie': 'session=1; Path=/; Domain=example.test; HttpOnly' });
      return;
    }
    if (url === '/redirect') {
      response.writeHead(302, { location: '/elsewhere?x=1' }).end();
      return;
    }
    if (url === '/reset') {
      request.socket.destroy();
      return;
    }
    const [, bytes] = /^\/bytes\?n=(\d+)$/.exec(url) ?? [];
    if (bytes !== undefined) {
      response.writeHead(200, { 'content-length': bytes }).end('x'.repeat(Number(bytes)));
      return;
    }
    if (url === '/hang') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: open\n\n');
      return;
    }
    if (url.startsWith('/sleep/')) {
      setTimeout(() => json({ name, n: ++n }), Number(url.slice(7)));
      return;
    }
    const hash = createHash('sha256');
    let sizeBytes = 0;
    request.on('data', (chunk) => {
      sizeBytes += chunk.length;
      hash.update(chunk);
    });
    request.on('end', () =>
      json({
        name,
        n: ++n,
        method: request.method,
        url,
        rawHeaders: request.rawHeaders,
        sizeBytes,
        sha256: hash.digest('hex'),
      }),
    );
  });
  server.on('upgrade', (request, socket, head) => {
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${request.headers.upgrade}\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nX-From: ${name}\r\n\r\n`,
    );
    // Bytes come back as they are, but for the mask that only a client's frames have.
    const echo = (/** @type {Buffer} */ chunk) =>
      socket.write(request.headers.upgrade === 'websocket' ? unmasked(chunk) : chunk);
    if (head.length > 0) echo(head);
    socket.on('data', echo);
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
  });
  return server;
}

/** One short frame without its mask. @param {Buffer} frame */
function unmasked(frame) {
  const length = (frame[1] ?? 0) & 0x7f;
  const mask = frame.subarray(2, 6);
  const payload = Buffer.from(frame.subarray(6, 6 + length));
  for (let index = 0; index < payload.length; index++) payload[index] = (payload[index] ?? 0) ^ (mask[index % 4] ?? 0);
  return Buffer.concat([Buffer.from([frame[0] ?? 0x81, length]), payload]);
}

if (process.env.ECHO_PORT !== undefined)
  createEcho(process.env.ECHO_NAME ?? '').listen(Number(process.env.ECHO_PORT), '0.0.0.0');
