import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { ApiError } from '../../../kubernetes/index.ts';
import { StoreError } from '../../store/index.ts';
import {
  badRequest,
  failure,
  forbidden,
  internalError,
  methodNotAllowed,
  noSuchResource,
  unsupportedMediaType,
} from '../errors.ts';
import type { Caller, Kind, ReviewKind } from '../kinds/index.ts';
import { type Operations, PATCH_TYPES } from '../operations/index.ts';
import type { ReviewHandler } from '../reviews.ts';
import { mountStreaming, type PodStreams } from '../streaming/index.ts';
import { authenticate, isOwnHost, type TokenLookup } from './authentication.ts';
import { createDiscovery } from './discovery.ts';
import { negotiate } from './negotiate.ts';
import { createOpenApi } from './openapi.ts';
import type { PodLogs } from './pod-log.ts';
import { createResourceHandler } from './resource-handler.ts';

/** Where and how the API is served. */
export interface ListenOptions {
  /** IP address; loopback unless `allowNonLoopback`. */
  host: string;
  /** 0: any free one. */
  port: number;
  /** PEM certificate and key. */
  certificate: { certificatePem: string; keyPem: string };
  allowNonLoopback?: boolean;
  /** Names beside localhost and the address by which clients may call the server. */
  hostNames?: string[];
}

/** What the server is made of. */
export interface ServerDependencies {
  operations: Operations;
  review: ReviewHandler;
  kinds: readonly Kind[];
  reviews: readonly ReviewKind[];
  tokens: TokenLookup;
  clock: () => number;
  bookmarkIntervalMs: number;
  isReady: () => boolean;
  podLogs?: PodLogs;
  podStreams?: PodStreams;
}

/** A listening server. */
export interface ApiServer {
  /** `https://127.0.0.1:6440`. */
  url: string;
  port: number;
  /** Ends watches and connections. */
  close(): Promise<void>;
}

const BODY_LIMIT_BYTES = 3 * 1024 * 1024;
const MOST_DRAINED_BYTES = 64 * 1024 * 1024;
const LONGEST_DRAIN_MS = 5000;
const PUBLIC_PATHS = new Set(['/healthz', '/livez', '/readyz', '/version']);
const VERBS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];
const HALF_HOUR_MS = 1_800_000;
const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '::1'];

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Starts the HTTPS server. @throws Error for an interface that others can reach unless that was asked for */
export async function listen(dependencies: ServerDependencies, options: ListenOptions): Promise<ApiServer> {
  if (!isLoopback(options.host) && options.allowNonLoopback !== true)
    throw new Error(`the engine API listens on loopback only; ${options.host} can be reached from other machines`);
  const watches = new Set<AbortController>();
  const { certificatePem, keyPem } = options.certificate;
  const server = Fastify({
    https: { cert: certificatePem, key: keyPem, minVersion: 'TLSv1.2' },
    bodyLimit: BODY_LIMIT_BYTES,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 1024 },
    requestTimeout: 60_000,
    frameworkErrors: (error, _request, reply) => void sendError(reply, error),
  }) as unknown as FastifyInstance;
  await mount(server, dependencies, watches, new Set([...LOOPBACK_NAMES, options.host, ...(options.hostNames ?? [])]));
  await server.listen({ host: options.host, port: options.port });
  const address = server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : options.port;
  const name = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    url: `https://${name}:${port}`,
    port,
    async close() {
      for (const watch of watches) watch.abort();
      await server.close();
    },
  };
}

async function mount(
  server: FastifyInstance,
  dependencies: ServerDependencies,
  watches: Set<AbortController>,
  hosts: ReadonlySet<string>,
): Promise<void> {
  const discovery = createDiscovery(dependencies);
  const openApi = createOpenApi(dependencies);
  const callers = new WeakMap<FastifyRequest, Caller>();
  const handle = createResourceHandler({
    ...dependencies,
    watch: {
      bookmarkIntervalMs: dependencies.bookmarkIntervalMs,
      defaultTimeoutMs: () => HALF_HOUR_MS + Math.random() * HALF_HOUR_MS,
      active: watches,
    },
  });

  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  server.addHook('onRequest', async (request) => {
    if (!isOwnHost(request.headers.host, hosts))
      throw forbidden(
        { group: '', plural: 'host', kind: 'Host' },
        String(request.headers.host ?? ''),
        'this server does not go by that name',
      );
    if (!PUBLIC_PATHS.has(request.url.split('?', 1)[0] ?? ''))
      callers.set(request, authenticate(dependencies.tokens, request.headers.authorization));
  });
  // As the body of a request: what is unpacked has no bound, and no client of Kubernetes packs.
  server.addHook('onRequest', async (request) => {
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity')
      throw failure(
        415,
        'UnsupportedMediaType',
        `the body of the request is encoded as ${JSON.stringify(encoding.slice(0, 64))}: send it uncompressed`,
      );
    const impersonation = Object.keys(request.headers).find((name) => name.startsWith('impersonate-'));
    if (impersonation !== undefined)
      throw failure(403, 'Forbidden', `this engine has one user: impersonation (${impersonation}) is not possible`);
  });
  server.setErrorHandler(async (error, request, reply) => {
    await drain(request.raw);
    return sendError(reply, error);
  });
  server.setNotFoundHandler((request, reply) =>
    sendError(reply, VERBS.includes(request.method) ? noSuchResource() : methodNotAllowed()),
  );

  await mountStreaming(server, dependencies);
  for (const path of ['/healthz', '/livez'])
    server.get(path, async (_request, reply) => reply.type('text/plain').send('ok'));
  server.get('/readyz', async (_request, reply) =>
    dependencies.isReady() ? reply.type('text/plain').send('ok') : reply.code(503).type('text/plain').send('not ready'),
  );
  server.get('/version', async () => VERSION);
  server.get('/api', async (request, reply) => discover(request, reply, discovery.aggregated(true), discovery.legacy));
  server.get('/apis', async (request, reply) =>
    discover(request, reply, discovery.aggregated(false), discovery.groups),
  );
  server.get('/openapi/v3', async () => openApi.v3Index);
  server.get('/openapi/v3/*', async (request) => found(openApi.v3((request.params as { '*': string })['*'])));
  server.get('/openapi/v2', async (request) => {
    negotiate(request.headers.accept, ['Object']);
    return openApi.v2;
  });
  server.get('/api/:version', async (request) => found(discovery.resources('', param(request, 'version'))));
  server.get('/apis/:group', async (request) => found(discovery.group(param(request, 'group'))));
  server.get('/apis/:group/:version', async (request) =>
    found(discovery.resources(param(request, 'group'), param(request, 'version'))),
  );
  for (const url of ['/api/*', '/apis/*'])
    server.route({
      method: VERBS,
      url,
      handler: (request, reply) => handle(request, reply, callers.get(request) as Caller),
    });
  server.route({ method: ['OPTIONS', 'HEAD'], url: '/*', handler: () => Promise.reject(methodNotAllowed()) });
}

function discover(request: FastifyRequest, reply: FastifyReply, aggregated: unknown, plain: unknown): FastifyReply {
  const { as } = negotiate(request.headers.accept, ['Discovery', 'Object']);
  return as === 'Discovery'
    ? reply
        .type('application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList')
        .send(JSON.stringify(aggregated))
    : reply.send(plain);
}

function param(request: FastifyRequest, name: string): string {
  return (request.params as Record<string, string>)[name] ?? '';
}

function found(document: unknown): unknown {
  if (document === undefined) throw noSuchResource();
  return document;
}

/**
 * Lets a body that nobody reads come in, within bounds: a client that is cut off while it still sends never sees the answer which says what is wrong.
 */
async function drain(request: IncomingMessage): Promise<void> {
  if (request.complete || request.destroyed) return;
  let leftBytes = MOST_DRAINED_BYTES;
  const { promise, resolve } = Promise.withResolvers<void>();
  request.on('data', (chunk: Buffer) => {
    leftBytes -= chunk.length;
    if (leftBytes < 0) resolve();
  });
  request.once('end', resolve).once('close', resolve).once('error', resolve);
  request.resume();
  await Promise.race([promise, delay(LONGEST_DRAIN_MS, undefined, { ref: false })]);
}

function sendError(reply: FastifyReply, error: unknown): FastifyReply {
  const { status } = apiErrorOf(error, reply.request.method);
  const retry = status.details?.retryAfterSeconds;
  if (retry !== undefined) reply.header('retry-after', String(retry));
  if (status.code === 401) reply.header('www-authenticate', 'Bearer');
  return reply.code(status.code).send(status);
}

function apiErrorOf(error: unknown, method: string): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof StoreError && error.code === 'too_large')
    return failure(413, 'RequestEntityTooLarge', error.message);
  const { code, statusCode, message } = error as { code?: string; statusCode?: number; message?: string };
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return failure(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${BODY_LIMIT_BYTES}`);
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return unsupportedMediaType(
      method === 'PATCH' ? Object.values(PATCH_TYPES) : ['application/json', 'application/yaml'],
    );
  return statusCode !== undefined && statusCode < 500 ? badRequest(message ?? 'bad request') : internalError(error);
}

/** The Kubernetes version whose behaviour this follows. */
export const ENGINE_API_VERSION = 'v1.34.0-sandbox-router';

const VERSION = {
  major: '1',
  minor: '34',
  gitVersion: ENGINE_API_VERSION,
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: '',
  platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
};
