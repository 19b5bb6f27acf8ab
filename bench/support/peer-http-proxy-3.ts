import { Agent, createServer } from 'node:http';
import { createProxyServer } from 'http-proxy-3';

/** http-proxy-3 alone: `peer-http-proxy-3.ts <port> <upstream url>`. */

const proxy = createProxyServer({ target: process.argv[3] ?? '', agent: new Agent({ keepAlive: true }) });
proxy.on('error', (error) => console.error(error.message));
const server = createServer((request, response) => proxy.web(request, response));
server.keepAliveTimeout = 0;
server.listen(Number(process.argv[2]), '127.0.0.1');
