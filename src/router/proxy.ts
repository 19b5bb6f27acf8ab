import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { type AddressOptions, isAddressProblem, parseAddress, type SandboxAddress } from './address/index.ts';
import { Exchange, type ExchangeEnd, type RequestOutcome, type Target } from './exchange.ts';
import {
  addForwardingHeaders,
  type ForwardRequest,
  forwardHttp,
  type ScannedHeaders,
  scanHeaders,
  type TrustedProxies,
  type Tunnels,
  type UpstreamFailure,
  type UpstreamPools,
} from './forward/index.ts';
import { bearerToken, type Identity, maySee, type Principal, type SandboxName } from './identity/index.ts';
import type { Limits, Tenant } from './policy/index.ts';
import { type Problem, ProblemError, problemBytes, sendProblem } from './problem.ts';
import type { PodRecord, Route, RoutingTable } from './table/index.ts';
import type { ActivityTracker, Waker } from './wake/index.ts';

/** What the proxy is made of. */
export interface ProxyOptions {
  table: RoutingTable;
  isSynced(): boolean;
  /** Undefined lets anybody in. */
  identity: Identity | undefined;
  anonymous: Principal;
  waker: Waker;
  limits: Limits;
  /** Why a tenant may not be sent to a sandbox by its classes. */
  refusedByClass(tenant: Tenant, route: Route, pod: PodRecord | undefined): Problem | undefined;
  activity: ActivityTracker;
  pools: UpstreamPools;
  tunnels: Tunnels;
  proxies: TrustedProxies;
  address: AddressOptions;
  maxBodyBytes: number;
  connectTimeoutMs: number;
  responseHeaderTimeoutMs: number;
  finished(outcome: RequestOutcome): void;
  /** Told of failures that are the router's own. */
  report(what: string, error: unknown): void;
}

/** Routes requests to sandboxes: address → identity → table → policy → wake → forward (design section 3). */
export interface Proxy {
  handle(request: IncomingMessage, response: ServerResponse, expectContinue: boolean): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  inFlight(): number;
}

/** A proxy over the given parts; it keeps no state of its own but a count. */
export function createProxy(options: ProxyOptions): Proxy {
  let inFlight = 0;

  /** Everything up to forwarding; answers at once where nothing has to be waited for. @throws ProblemError */
  function locate(exchange: Exchange, client: ServerResponse | Duplex): Target | Promise<Target> {
    const { request } = exchange;
    const scanned = scanHeaders(request.rawHeaders);
    if (scanned.duplicate !== undefined)
      throw new ProblemError({ code: 'bad_header', detail: `${scanned.duplicate} was sent more than once.` });
    const address = parseAddress(request.url ?? '', scanned, options.address);
    if (isAddressProblem(address)) throw new ProblemError(address);
    if (address.form === 'header' && scanned.sandboxPodIp !== undefined && isIP(scanned.sandboxPodIp) === 0)
      throw new ProblemError({ code: 'bad_header', detail: 'Invalid target IP address.' });
    if (options.maxBodyBytes > 0 && scanned.contentLength > options.maxBodyBytes)
      throw new ProblemError({
        code: 'body_too_large',
        detail: `Bodies may have ${options.maxBodyBytes} bytes, this one has ${scanned.contentLength}.`,
      });
    exchange.sandbox = address.sandbox;
    const { identity } = options;
    if (identity === undefined) return admit(exchange, scanned, address, options.anonymous, client);
    const credential = bearerToken(scanned.sandboxAuthorization ?? scanned.authorization);
    const nowMs = Date.now();
    const known = credential === undefined ? undefined : identity.cached(credential, nowMs);
    if (known !== undefined) return admit(exchange, scanned, address, known, client);
    return identity.authenticate(credential, nowMs).then((principal) => {
      if (principal === undefined)
        throw new ProblemError({
          code: 'unauthenticated',
          detail: 'A valid credential is needed: "Authorization: Bearer <token>".',
        });
      return admit(exchange, scanned, address, principal, client);
    });
  }

  function admit(
    exchange: Exchange,
    scanned: ScannedHeaders,
    address: SandboxAddress,
    principal: Principal,
    client: ServerResponse | Duplex,
  ): Target | Promise<Target> {
    const namespace = address.namespace ?? principal.defaultNamespace;
    exchange.namespace = namespace;
    exchange.credentialId = principal.credentialId;
    if (!principal.scopes.has('route'))
      throw new ProblemError({ code: 'forbidden', detail: 'This credential may not reach sandboxes.' });
    const { tenant } = principal;
    refuseIf(options.limits.enter(tenant, performance.now()));
    exchange.usage = tenant.usage;
    const { sandbox: only, mayProxy } = principal;
    if (only !== undefined) refuseIf(refusedByToken(only, namespace, address.sandbox, scanned));
    const name = { namespace, name: address.sandbox };
    const allowed = maySee(principal, name) && (mayProxy === undefined || mayProxy(name));
    if (typeof allowed === 'boolean') return find(scanned, address, principal, client, namespace, allowed);
    return allowed.then((answer) => find(scanned, address, principal, client, namespace, answer));
  }

  function find(
    scanned: ScannedHeaders,
    address: SandboxAddress,
    principal: Principal,
    client: ServerResponse | Duplex,
    namespace: string,
    allowed: boolean,
  ): Target | Promise<Target> {
    const { tenant } = principal;
    const route = allowed ? options.table.find(namespace, address.sandbox) : undefined;
    if (route === undefined || route.sandbox.pooled) {
      if (!options.isSynced())
        throw new ProblemError({
          code: 'table_not_ready',
          detail: 'The routing table is not complete yet.',
          retryAfterSeconds: 1,
        });
      throw new ProblemError({
        code: 'sandbox_not_found',
        detail: `There is no sandbox ${address.sandbox} in ${namespace}.`,
        sandbox: address.sandbox,
        namespace,
      });
    }
    const port = address.port ?? route.sandbox.port;
    const routable = options.table.isRoutable(route);
    refuseIf(options.refusedByClass(tenant, route, routable ? route.pod : undefined));
    refuseIf(options.limits.enterSandbox(tenant, route, performance.now()));
    if (routable) return { address, scanned, principal, route, port, pod: route.pod as PodRecord, waitedMs: 0 };
    refuseIf(options.limits.hold(tenant));
    return options.waker
      .wake({
        route,
        port,
        mayWake: principal.scopes.has('wake'),
        beginning: () => options.limits.beginWake(tenant, route, performance.now()),
        ended: () => options.limits.endWake(route),
        timeoutMs: sandboxTimeoutMs(scanned.sandboxTimeout),
        signal: closeSignal(client),
      })
      .finally(() => options.limits.release(tenant))
      .then((result) => {
        if ('problem' in result) throw new ProblemError(result.problem);
        refuseIf(options.refusedByClass(tenant, route, result.pod));
        return { address, scanned, principal, route, port, pod: result.pod, waitedMs: result.waitedMs };
      });
  }

  function upstreamHeaders(request: IncomingMessage, { address, scanned }: Target): string[] {
    const headers = scanned.upstream;
    // The credential that was used stays here; the client's own goes on where another header carried ours.
    if (
      scanned.authorization !== undefined &&
      (scanned.sandboxAuthorization !== undefined || options.identity === undefined)
    )
      headers.push('authorization', scanned.authorization);
    const { socket } = request;
    addForwardingHeaders(
      headers,
      scanned,
      socket.remoteAddress ?? '',
      'encrypted' in socket,
      address.prefix,
      options.proxies,
    );
    return headers;
  }

  function problemOf(exchange: Exchange, error: unknown): Problem {
    const { sandbox, namespace } = exchange;
    if (error instanceof ProblemError) return { sandbox, namespace, ...error.problem };
    options.report(`answering ${exchange.request.method} for ${namespace ?? ''}/${sandbox ?? ''}`, error);
    return { sandbox, namespace, code: 'internal', detail: 'The router failed; its log says why.' };
  }

  const accounting: ExchangeEnd = {
    ended: (exchange) => {
      inFlight--;
      if (exchange.usage !== undefined) options.limits.leave(exchange.usage);
      options.finished(exchange);
    },
  };

  function begin(request: IncomingMessage): Exchange {
    inFlight++;
    return new Exchange(request, performance.now(), accounting);
  }

  return {
    inFlight: () => inFlight,

    handle: (request, response, expectContinue) => {
      const exchange = begin(request);
      const fail = (error: unknown) => {
        const problem = problemOf(exchange, error);
        const requestId = randomUUID();
        // A body that nobody reads can't be followed by another request.
        if (request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined)
          response.shouldKeepAlive = false;
        sendProblem(response, problem, requestId, isNavigation(request));
        exchange.finish(response.statusCode, problem, requestId);
      };
      const go = (target: Target) => {
        if (response.destroyed) {
          exchange.finish(499);
          return;
        }
        if (expectContinue) response.writeContinue();
        forwardHttp(new HttpExchange(exchange, target, response, upstreamHeaders(request, target), options, fail));
      };
      try {
        const located = locate(exchange, response);
        if (located instanceof Promise) located.then(go).catch(fail);
        else go(located);
      } catch (error) {
        fail(error);
      }
    },

    upgrade: (request, socket, head) => {
      const exchange = begin(request);
      const fail = (error: unknown) => {
        const problem = problemOf(exchange, error);
        const requestId = randomUUID();
        const bytes = problemBytes(problem, requestId);
        if (!socket.destroyed) socket.end(bytes);
        exchange.finish(Number(bytes.slice(9, 12)), problem, requestId);
      };
      socket.on('error', () => socket.destroy());
      const go = (target: Target) => {
        if (socket.destroyed) {
          exchange.finish(499);
          return;
        }
        const headers = upstreamHeaders(request, target);
        headers.push('connection', 'Upgrade', 'upgrade', request.headers.upgrade ?? '');
        options.tunnels.open({
          request,
          socket,
          head,
          pod: target.pod,
          port: target.port,
          path: target.address.rest,
          headers,
          connectTimeoutMs: options.connectTimeoutMs,
          handshakeTimeoutMs: options.responseHeaderTimeoutMs,
          moved: () => options.activity.touch(target.route, performance.now()),
          done: (status, failure) => {
            if (failure === undefined || failure.answered) exchange.finish(status);
            else fail(new ProblemError({ code: failure.code, detail: failure.detail }));
          },
        });
      };
      try {
        const located = locate(exchange, socket);
        if (located instanceof Promise) located.then(go).catch(fail);
        else go(located);
      } catch (error) {
        fail(error);
      }
    },
  };
}

/** An exchange that is being forwarded: what `forward/` asks for, with methods in place of a closure for each. */
class HttpExchange implements ForwardRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly pool: ForwardRequest['pool'];
  readonly path: string;
  readonly headers: string[];
  readonly hasBody: boolean;
  readonly rewrite: ForwardRequest['rewrite'];
  readonly extraHeaders: string[] | undefined;
  private readonly exchange: Exchange;
  private readonly target: Target;
  private readonly activity: ActivityTracker;
  private readonly fail: (error: unknown) => void;
  /** Whether the sandbox is counted as in use by this request. */
  private waiting = true;

  constructor(
    exchange: Exchange,
    target: Target,
    response: ServerResponse,
    headers: string[],
    { pools, activity }: ProxyOptions,
    fail: (error: unknown) => void,
  ) {
    this.request = exchange.request;
    this.response = response;
    this.pool = pools.get(target.pod, target.port);
    this.path = target.address.rest;
    this.headers = headers;
    this.hasBody = target.scanned.hasBody;
    this.rewrite = { prefix: target.address.prefix, host: target.scanned.host ?? '' };
    this.extraHeaders = target.waitedMs > 0 ? ['server-timing', `wake;dur=${target.waitedMs.toFixed(1)}`] : undefined;
    this.exchange = exchange;
    this.target = target;
    this.activity = activity;
    this.fail = fail;
    activity.begin(target.route, target.waitedMs > 0 ? performance.now() : exchange.startedAtMs);
  }

  isCurrent(): boolean {
    return this.target.route.pod?.uid === this.target.pod.uid;
  }

  /** From its head on, a stream counts only while it moves. */
  streaming(): void {
    if (this.waiting) this.activity.end(this.target.route, performance.now());
    this.waiting = false;
  }

  moved(): void {
    this.activity.touch(this.target.route, performance.now());
  }

  done(status: number, failure: UpstreamFailure | undefined): void {
    this.streaming();
    if (failure === undefined || failure.answered) this.exchange.finish(status);
    else
      this.fail(
        new ProblemError({
          code: failure.code,
          detail: `${failure.detail} (${this.target.address.sandbox}, port ${this.target.port})`,
        }),
      );
  }
}

/** What contract section 3.4 refuses to whoever has a token for one sandbox, the same whether the other exists or not. */
function refusedByToken(
  only: SandboxName,
  namespace: string,
  name: string,
  scanned: ScannedHeaders,
): Problem | undefined {
  if (scanned.sandboxPodIp !== undefined || scanned.sandboxUid !== undefined)
    return {
      code: 'forbidden',
      detail: 'A scoped token names its sandbox; X-Sandbox-Pod-IP and X-Sandbox-UID are refused.',
    };
  if (only.namespace !== namespace || only.name !== name)
    return { code: 'forbidden', detail: 'This token is for another sandbox.' };
  return undefined;
}

/** @throws ProblemError */
function refuseIf(problem: Problem | undefined): void {
  if (problem !== undefined) throw new ProblemError(problem);
}

/** Aborted when the client leaves; made only for requests that wait. */
function closeSignal(connection: ServerResponse | Duplex): AbortSignal {
  const controller = new AbortController();
  connection.once('close', () => controller.abort());
  return controller.signal;
}

/** Seconds, as the SDKs send them; undefined for anything else. */
function sandboxTimeoutMs(header: string | undefined): number | undefined {
  const seconds = Number(header);
  return header === undefined || !Number.isFinite(seconds) || seconds <= 0 ? undefined : seconds * 1000;
}

function isNavigation(request: IncomingMessage): boolean {
  return request.headers['sec-fetch-mode'] === 'navigate' && (request.headers.accept ?? '').includes('text/html');
}
