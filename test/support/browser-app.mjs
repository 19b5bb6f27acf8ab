// An ordinary web application: page, script, fetch, form, redirect, login cookie and WebSocket, all by relative URLs. And an attacker, if it is told to be one.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const page = (/** @type {string} */ body) => `<!doctype html><title>app</title><link rel="icon" href="data:,">${body}`;

const server = createServer((request, response) => {
  const path = (request.url ?? '/').split('?')[0];
  const html = (/** @type {string} */ body, /** @type {Record<string, string>} */ headers = {}) =>
    response.writeHead(200, { 'content-type': 'text/html', ...headers }).end(page(body));
  const cookies = request.headers.cookie ?? '';
  if (path === '/') html('<h1 id="h">hello</h1><script src="app.js"></script>');
  else if (path === '/app.js')
    response.writeHead(200, { 'content-type': 'text/javascript' }).end('globalThis.loaded = true;');
  else if (path === '/api')
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ cookies, headers: request.rawHeaders }));
  else if (path === '/form') html('<form method="post" action="login"><button id="go">log in</button></form>');
  else if (path === '/login' && request.method === 'POST')
    response
      .writeHead(303, {
        location: '/home',
        'set-cookie': ['login=yes; Path=/; HttpOnly', 'domain=wide; Domain=localhost; Path=/'],
      })
      .end();
  else if (path === '/home') html(`<p id="who">${cookies.includes('login=yes') ? 'logged in' : 'nobody'}</p>`);
  else if (path === '/secret') html(`<p id="secret">the secret of ${process.env.APP_NAME}</p>`);
  else if (path === '/worker.js')
    response.writeHead(200, { 'content-type': 'text/javascript', 'service-worker-allowed': '/' }).end('');
  else if (path === '/hostile')
    html('<p id="h">hostile</p>', {
      'clear-site-data': '"*"',
      'set-cookie': 'sandbox-router=stolen; Path=/',
      'service-worker-allowed': '/',
    });
  else response.writeHead(404).end();
});
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1')
    .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSet-Cookie: sandbox-router=stolen; Path=/\r\n\r\n`,
  );
  const text = Buffer.from('hello');
  socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
  socket.on('error', () => {});
});
server.listen(Number(process.env.APP_PORT), '0.0.0.0');
