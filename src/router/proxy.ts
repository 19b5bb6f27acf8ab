import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type AddressOptions, isAddressProblem, parseAddress, type SandboxAddress } from './address/index.ts';
import {
  addForwardingHeaders,
  forwardHttp,
  type ScannedHeaders,
  scanHeaders,
  type TrustedProxies,
  type Tunnels,
  type UpstreamPools,
} from './forward/index.ts';
import { bearerToken, type Identity, maySee, type Principal } from './identity/index.ts';
import type { Limits, Tenant, TenantUsage } from './policy/index.ts';
import { type Problem, ProblemError, problemBytes, sendProblem } from './problem.ts';
import type { PodRecord, Route, RoutingTable } from './table/index.ts';
import type { ActivityTracker, Waker } from './wake/index.ts';

/** One finished request, for metrics and the access log. */
export interface RequestOutcome {
  request: IncomingMessage;
  /** The client's connection; a request whose body was sent on knows it no more. */
  connection: Socket;
  status: number;
  durationMs: number;
  sandbox: string | undefined;
  namespace: string | undefined;
  credentialId: string | undefined;
  problem: Problem | undefined;
  requestId: string | undefined;
}

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
}

/** Routes requests to sandboxes: address → identity → table → policy → wake → forward (design section 3). */
export interface Proxy {
  handle(request: IncomingMessage, response: ServerResponse, expectContinue: boolean): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  inFlight(): number;
}

/** A request that has found its way. */
interface Target {
  address: SandboxAddress;
  scanned: ScannedHeaders;
  principal: Principal;
  route: Route;
  pod: PodRecord;
  port: number;
  waitedMs: number;
}

/** What is known of a request before all of it is. */
interface Progress {
  sandbox?: string | undefined;
  namespace?: string | undefined;
  credentialId?: string | undefined;
  /** Limits in which the request is counted until it ends. */
  usage?: TenantUsage | undefined;
}

/** A proxy over the given parts; it keeps no state of its own but a count. */
export function createProxy(options: ProxyOptions): Proxy {
  let inFlight = 0;

  /** Everything up to forwarding; answers at once where nothing has to be waited for. @throws ProblemError */
  function locate(request: IncomingMessage, progress: Progress, closed: () => AbortSignal): Target | Promise<Target> {
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
    progress.sandbox = address.sandbox;
    const { identity } = options;
    if (identity === undefined) return admit(progress, scanned, address, options.anonymous, closed);
    const credential = bearerToken(scanned.sandboxAuthorization ?? scanned.authorization);
    const nowMs = Date.now();
    const known = credential === undefined ? undefined : identity.cached(credential, nowMs);
    if (known !== undefined) return admit(progress, scanned, address, known, closed);
    return identity.authenticate(credential, nowMs).then((principal) => {
      if (principal === undefined)
        throw new ProblemError({
          code: 'unauthenticated',
          detail: 'A valid credential is needed: "Authorization: Bearer <token>".',
        });
      return admit(progress, scanned, address, principal, closed);
    });
  }

  function admit(
    progress: Progress,
    scanned: ScannedHeaders,
    address: SandboxAddress,
    principal: Principal,
    closed: () => AbortSignal,
  ): Target | Promise<Target> {
    const namespace = address.namespace ?? principal.defaultNamespace;
    progress.namespace = namespace;
    progress.credentialId = principal.credentialId;
    if (!principal.scopes.has('route'))
      throw new ProblemError({ code: 'forbidden', detail: 'This credential may not reach sandboxes.' });
    const { tenant } = principal;
    const startedAtMs = performance.now();
    refuseIf(options.limits.enter(tenant, startedAtMs));
    progress.usage = tenant.usage;
    const name = { namespace, name: address.sandbox };
    const route = maySee(principal, name) ? options.table.find(namespace, address.sandbox) : undefined;
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
    const target = { address, scanned, principal, route, port };
    const routable = options.table.isRoutable(route);
    refuseIf(options.refusedByClass(tenant, route, routable ? route.pod : undefined));
    refuseIf(options.limits.enterSandbox(tenant, route, startedAtMs));
    if (routable) return { ...target, pod: route.pod as PodRecord, waitedMs: 0 };
    refuseIf(options.limits.hold(tenant));
    return options.waker
      .wake({
        route,
        port,
        mayWake: principal.scopes.has('wake'),
        beginning: () => options.limits.beginWake(tenant, route, performance.now()),
        ended: () => options.limits.endWake(route),
        timeoutMs: sandboxTimeoutMs(scanned.sandboxTimeout),
        signal: closed(),
      })
      .finally(() => options.limits.release(tenant))
      .then((result) => {
        if ('problem' in result) throw new ProblemError(result.problem);
        refuseIf(options.refusedByClass(tenant, route, result.pod));
        return { ...target, pod: result.pod, waitedMs: result.waitedMs };
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

  function refuse(error: unknown): Problem {
    if (error instanceof ProblemError) return error.problem;
    return { code: 'internal', detail: 'The router failed; its log says why.' };
  }

  return {
    inFlight: () => inFlight,

    handle: (request, response, expectContinue) => {
      const startedAtMs = performance.now();
      const connection = request.socket;
      const progress: Progress = {};
      inFlight++;
      let finished = false;
      const finish = (status: number, problem?: Problem, requestId?: string) => {
        if (finished) return;
        finished = true;
        inFlight--;
        if (progress.usage !== undefined) options.limits.leave(progress.usage);
        options.finished({
          request,
          connection,
          status,
          durationMs: performance.now() - startedAtMs,
          sandbox: progress.sandbox,
          namespace: progress.namespace,
          credentialId: progress.credentialId,
          problem,
          requestId,
        });
      };
      const fail = (error: unknown) => {
        const problem = { sandbox: progress.sandbox, namespace: progress.namespace, ...refuse(error) };
        const requestId = randomUUID();
        // A body that nobody reads can't be followed by another request.
        if (request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined)
          response.shouldKeepAlive = false;
        sendProblem(response, problem, requestId, isNavigation(request));
        finish(response.statusCode, problem, requestId);
      };
      const go = (target: Target) => {
        if (response.destroyed) {
          finish(499);
          return;
        }
        if (expectContinue) response.writeContinue();
        const { route } = target;
        options.activity.begin(route, performance.now());
        let waiting = true;
        const stopWaiting = () => {
          if (waiting) options.activity.end(route, performance.now());
          waiting = false;
        };
        forwardHttp({
          request,
          response,
          pool: options.pools.get(target.pod, target.port),
          path: target.address.rest,
          headers: upstreamHeaders(request, target),
          hasBody: target.scanned.hasBody,
          rewrite: { prefix: target.address.prefix, host: target.scanned.host ?? '' },
          extraHeaders: target.waitedMs > 0 ? ['server-timing', `wake;dur=${target.waitedMs.toFixed(1)}`] : undefined,
          isCurrent: () => route.pod?.uid === target.pod.uid,
          // From its head on, a stream counts only while it moves.
          streaming: stopWaiting,
          moved: () => options.activity.touch(route, performance.now()),
          done: (status, failure) => {
            stopWaiting();
            if (failure === undefined || failure.answered) finish(status);
            else
              fail(
                new ProblemError({
                  code: failure.code,
                  detail: `${failure.detail} (${target.address.sandbox}, port ${target.port})`,
                }),
              );
          },
        });
      };
      try {
        const located = locate(request, progress, () => closeSignal(response));
        if (located instanceof Promise) located.then(go).catch(fail);
        else go(located);
      } catch (error) {
        fail(error);
      }
    },

    upgrade: (request, socket, head) => {
      const startedAtMs = performance.now();
      const connection = request.socket;
      const progress: Progress = {};
      inFlight++;
      const finish = (status: number, problem?: Problem, requestId?: string) => {
        inFlight--;
        if (progress.usage !== undefined) options.limits.leave(progress.usage);
        options.finished({
          request,
          connection,
          status,
          durationMs: performance.now() - startedAtMs,
          sandbox: progress.sandbox,
          namespace: progress.namespace,
          credentialId: progress.credentialId,
          problem,
          requestId,
        });
      };
      const fail = (error: unknown) => {
        const problem = { sandbox: progress.sandbox, namespace: progress.namespace, ...refuse(error) };
        const requestId = randomUUID();
        const bytes = problemBytes(problem, requestId);
        if (!socket.destroyed) socket.end(bytes);
        finish(Number(bytes.slice(9, 12)), problem, requestId);
      };
      socket.on('error', () => socket.destroy());
      const go = (target: Target) => {
        if (socket.destroyed) {
          finish(499);
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
            if (failure === undefined || failure.answered) finish(status);
            else fail(new ProblemError({ code: failure.code, detail: failure.detail }));
          },
        });
      };
      try {
        const located = locate(request, progress, () => closeSignal(socket));
        if (located instanceof Promise) located.then(go).catch(fail);
        else go(located);
      } catch (error) {
        fail(error);
      }
    },
  };
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
