import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Http2Settings } from '../config/index.ts';
import { takeHttp2Requests } from './front-http2.ts';
import { createFrontListener, type TlsOptions } from './front-listener.ts';
import { createHttp2Edge, type Http2Edge, type Http2EdgeOptions } from './http2/index.ts';
import { problemBytes } from './problem.ts';
import type { SandboxProxy } from './proxy/index.ts';
import { isWakeUrl } from './wake/index.ts';

/** Request line and headers together. */
const MAX_HEADER_BYTES = 32_768;
/** From a connection's beginning to the end of a request's head. */
const HEAD_TIMEOUT_MS = 30_000;
/** How long a connection without a request is kept. */
const KEEP_ALIVE_MS = 75_000;

/** The server that clients talk to. */
export interface FrontServer {
  /** For the router's own routes. */
  fastify: FastifyInstance;
  server: Server;
  /** The part of its connections that speak HTTP/2. */
  http2: Http2Edge;
  /** Emits `upgrade` for the router's own paths; it listens nowhere. */
  upgrades: Server;
  /** From now on answers tell their clients to connect anew for the next request. */
  drain(): void;
}

/** One server for both: sandboxes' requests go to the proxy as they are, the router's own through Fastify. */
export function createFrontServer(
  proxy: SandboxProxy,
  baseDomain: string | undefined,
  tls: TlsOptions | undefined,
  http2Options: Pick<Http2EdgeOptions, keyof Http2Settings | 'abused'>,
): FrontServer {
  const isOurs = (url: string, host: string | undefined) => isOwnPath(url, host, baseDomain);
  let draining = false;
  let server!: Server;
  let http2!: Http2Edge;
  const upgrades = createServer();
  const fastify = Fastify({
    genReqId: () => randomUUID(),
    // What a schema does not name is refused, and nothing is bent until it fits.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, strict: false } },
    serverFactory: (control) => {
      server = createFrontListener(
        {
          maxHeaderSize: MAX_HEADER_BYTES,
          headersTimeout: HEAD_TIMEOUT_MS,
          requestTimeout: 0,
          keepAliveTimeout: KEEP_ALIVE_MS,
          noDelay: true,
        },
        tls,
      );
      http2 = createHttp2Edge(server, {
        ...http2Options,
        tls: tls !== undefined,
        maxHeaderBytes: MAX_HEADER_BYTES,
        silenceMs: HEAD_TIMEOUT_MS,
        idleMs: KEEP_ALIVE_MS,
      });
      const take = (request: IncomingMessage, response: ServerResponse) => {
        if (isOurs(request.url ?? '', request.headers.host)) control(request, response);
        else {
          // Who is told to close asks elsewhere next time; who isn't might ask just as we close.
          if (draining) response.shouldKeepAlive = false;
          proxy.handle(request, response, false);
        }
      };
      const takeExpecting = (request: IncomingMessage, response: ServerResponse) => {
        if (isOurs(request.url ?? '', request.headers.host)) {
          response.writeContinue();
          control(request, response);
        } else proxy.handle(request, response, true);
      };
      const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        if (isOurs(request.url ?? '', request.headers.host)) upgrades.emit('upgrade', request, socket, head);
        else proxy.upgrade(request, socket, head);
      };
      server.on('request', take);
      server.on('checkContinue', takeExpecting);
      server.on('upgrade', upgrade);
      takeHttp2Requests(http2.server, { take, takeExpecting, upgrade }, MAX_HEADER_BYTES);
      return server;
    },
    clientErrorHandler: (error, socket) => answerClientError(error, socket as Socket),
  });
  fastify.get('/healthz', () => ({ status: 'ok' }));
  return {
    fastify,
    server,
    http2,
    upgrades,
    drain: () => {
      draining = true;
      http2.drain();
    },
  };
}

/** `/-/…` and `/healthz` are the router's own; on a sandbox's own origin only `/-/link/…`, as its cookie can be set nowhere else, and the state of a wake, for the page that waits for it. */
function isOwnPath(url: string, host: string | undefined, baseDomain: string | undefined): boolean {
  const own = (url.charCodeAt(1) === 45 && url.charCodeAt(2) === 47) || url === '/healthz';
  if (!own || baseDomain === undefined || host === undefined || url.startsWith('/-/link/') || isWakeUrl(url))
    return own;
  return !host.toLowerCase().replace(/:\d+$/, '').endsWith(`.${baseDomain}`);
}

function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (socket.destroyed || error.code === 'ECONNRESET') return;
  const overflow = error.code === 'HPE_HEADER_OVERFLOW';
  const problem = overflow
    ? ({
        code: 'headers_too_large',
        detail: `Request line and headers may have ${MAX_HEADER_BYTES} bytes together.`,
      } as const)
    : ({ code: 'bad_request', detail: 'The request is not valid HTTP/1.1.' } as const);
  socket.end(problemBytes(problem, randomUUID()));
}
