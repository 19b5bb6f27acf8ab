import httpProxy from '@fastify/http-proxy';
import Fastify from 'fastify';

/** `@fastify/http-proxy` with its own defaults: `peer-fastify-http-proxy.ts <port> <upstream url>`. */

const fastify = Fastify();
await fastify.register(httpProxy, { upstream: process.argv[3] ?? '' });
await fastify.listen({ port: Number(process.argv[2]), host: '127.0.0.1' });
