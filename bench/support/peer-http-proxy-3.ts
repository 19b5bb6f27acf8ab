import { Agent, createServer } from 'node:http';
import { createProxyServer } from 'http-proxy-3';

/** http-proxy-3 alone: `peer-http-proxy-3.ts <port> <upstream url> [keep-alive]`. Without an agent, as it comes, it opens a connection for each request. */

const [port, target = '', reuse] = process.argv.slice(2);
const proxy = createProxyServer({
  target,
  ...(reuse === 'keep-alive' ? { agent: new Agent({ keepAlive: true }) } : {}),
});
proxy.on('error', (error) => console.error(error.message));
const server = createServer((request, response) => proxy.web(request, response));
server.keepAliveTimeout = 0;
server.listen(Number(port), '127.0.0.1');
