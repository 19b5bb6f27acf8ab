import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Timeouts } from '../../config/index.ts';
import type { Traces } from '../../telemetry/index.ts';
import { BrowserRedirect, REDIRECT_HEADERS } from '../browser/index.ts';
import {
  addForwardingHeaders,
  forwardHttp,
  MOST_REJOINS,
  type RewriteContext,
  type SandboxTls,
  type TrustedProxies,
  type Tunnels,
  type UpgradeRequest,
  type UpstreamPools,
  webSocketRefusal,
} from '../forward/index.ts';
import type { Principal } from '../identity/index.ts';
import { OwnAnswer } from '../own-answer.ts';
import type { Tenant } from '../policy/index.ts';
import { type Problem, ProblemError, problemBytes, sendProblem } from '../problem.ts';
import type { Route } from '../table/index.ts';
import { type ActivityTracker, isNavigation } from '../wake/index.ts';
import { Exchange, type ExchangeEnd, isCurrent, type RequestOutcome, type Target, timeoutsFor } from './exchange.ts';
import { HttpExchange } from './http-exchange.ts';
import { createLocate, type LocateOptions } from './locate.ts';
import { TRY_LATER, wakeForData } from './wake-request.ts';

/** What the proxy is made of. */
export interface ProxyOptions extends LocateOptions {
  activity: ActivityTracker;
  pools: UpstreamPools;
  tunnels: Tunnels;
  proxies: TrustedProxies;
  sandboxTls: SandboxTls;
  /** Whether every answer tells where its tenant stands, not refusals alone. */
  rateLimitFields: boolean;
  /** Where neither tenant nor sandbox has others. */
  timeouts: Timeouts;
  /** Undefined makes no traces. */
  traces: Traces | undefined;
  finished(outcome: RequestOutcome): void;
  /** Told of failures that are the router's own. */
  report(what: string, error: unknown): void;
}

/** Routes requests to sandboxes: address → identity → table → policy → wake → forward (design section 3). */
export interface SandboxProxy {
  handle(request: IncomingMessage, response: ServerResponse, expectContinue: boolean): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  inFlight(): number;
}

/** A proxy over the given parts; it keeps no state of its own but a count. */
export function createProxy(options: ProxyOptions): SandboxProxy {
  const { locate, relocate } = createLocate(options);
  const { traces } = options;
  let inFlight = 0;

  function upstreamHeaders({ request, ambient, trace }: Exchange, { address, scanned, pod, port }: Target): string[] {
    const headers = scanned.upstream;
    // The credential that was used stays here; the client's own goes on where another header carried ours.
    if (
      scanned.authorization !== undefined &&
      (ambient || scanned.sandboxAuthorization !== undefined || options.identity === undefined)
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
    if (trace !== undefined) trace.forward(headers, pod.address, port);
    return headers;
  }

  function rewriteOf({ namespace = '' }: Exchange, { address, scanned }: Target): RewriteContext {
    const { prefix, form, sandbox } = address;
    const host = scanned.host ?? '';
    if (scanned.browser === undefined) return { prefix, host, ownOrigin: form === 'host', browser: undefined };
    const isolated = options.browsers.isolates(scanned.browser, address);
    return { prefix, host, ownOrigin: form === 'host', browser: { namespace, sandbox, isolated } };
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
      if (exchange.trace === undefined) return;
      exchange.trace.end(exchange);
      // A tunnel keeps its exchange.
      exchange.trace = undefined;
    },
  };

  function begin(request: IncomingMessage): Exchange {
    inFlight++;
    const exchange = new Exchange(request, performance.now(), accounting);
    if (traces !== undefined) exchange.trace = traces.begin(request, exchange.startedAtMs);
    return exchange;
  }

  function closeTunnelWith(socket: Duplex, tenant: Tenant, route: Route): void {
    socket.once('close', () => options.limits.closeTunnel(tenant, route));
  }

  /** What lives as long as a tunnel. On its own, as what these closures see does too: not the request that opened it. */
  function longLived(
    exchange: Exchange,
    principal: Principal,
    route: Route,
    port: number,
    used: boolean,
  ): Pick<UpgradeRequest, 'moved' | 'wake'> {
    return {
      moved: () => (used ? options.activity.touch(route, performance.now(), exchange) : undefined),
      wake: (bytes, signal) => wakeForData(options, exchange, principal, route, port, bytes, signal),
    };
  }

  return {
    inFlight: () => inFlight,

    handle: (request, response, expectContinue) => {
      const exchange = begin(request);
      const fail = (error: unknown) => {
        if (error instanceof BrowserRedirect) {
          sendRedirect(response, error);
          exchange.finish(response.statusCode);
          return;
        }
        if (error instanceof OwnAnswer) {
          answerOurselves(request, response, error);
          exchange.finish(error.status);
          return;
        }
        const problem = problemOf(exchange, error);
        const requestId = randomUUID();
        closeAfterUnreadBody(request, response);
        const status = sendProblem(response, problem, requestId, isNavigation(request));
        exchange.finish(status, problem, requestId);
      };
      const go = (target: Target) => {
        if (response.destroyed) {
          exchange.finish(499);
          return;
        }
        if (expectContinue) response.writeContinue();
        forwardHttp(
          new HttpExchange(
            exchange,
            target,
            response,
            upstreamHeaders(exchange, target),
            rewriteOf(exchange, target),
            options,
            fail,
            relocate,
          ),
        );
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
        const later = TRY_LATER.has(problem.code) ? webSocketRefusal(request, problem.detail) : undefined;
        if (!socket.destroyed) socket.end(later ?? bytes);
        exchange.finish(Number(bytes.slice(9, 12)), problem, requestId);
      };
      socket.on('error', destroyItself);
      let rejoins = 0;
      const go = (target: Target) => {
        if (socket.destroyed) {
          exchange.finish(499);
          return;
        }
        const { principal, route } = target;
        const tooMany = options.limits.openTunnel(principal.tenant, route);
        if (tooMany !== undefined) {
          fail(new ProblemError(tooMany));
          return;
        }
        closeTunnelWith(socket, principal.tenant, route);
        const headers = upstreamHeaders(exchange, target);
        headers.push('connection', 'Upgrade', 'upgrade', request.headers.upgrade ?? '');
        open(target, headers);
      };
      const open = (target: Target, headers: string[]) => {
        const { principal, route } = target;
        if (socket.destroyed) {
          exchange.finish(499);
          return;
        }
        if (route.sandbox.redials) withoutExtensions(headers);
        // A handshake that is under way is use, like any request that waits for its answer.
        const used = target.intent === 'use';
        if (used) options.activity.begin(route, performance.now(), exchange);
        else options.activity.beginQuiet(route);
        options.tunnels.open({
          request,
          socket,
          head,
          route,
          pod: target.pod,
          port: target.port,
          path: target.address.rest,
          headers,
          rewrite: rewriteOf(exchange, target),
          timeouts: timeoutsFor(target, options.timeouts),
          tls: options.sandboxTls,
          pacer: options.limits.pacer(principal.tenant, route),
          ...longLived(exchange, principal, route, target.port, used),
          done: (status, failure) => {
            if (used) options.activity.end(route, performance.now());
            else options.activity.endQuiet(route);
            if (failure === undefined || failure.answered) {
              exchange.finish(status);
              exchange.letGo();
            } else if (
              failure.code === 'upstream_refused' &&
              !isCurrent(options.table, target) &&
              rejoins++ < MOST_REJOINS
            )
              // Paused in the very moment of the dial: nothing of it was sent.
              relocate(exchange, socket, target)
                .then((next) => open(next, headers))
                .catch(fail);
            else {
              if (failure.code === 'upstream_refused') options.table.suspect(target.pod.uid, target.port, 0);
              fail(new ProblemError({ code: failure.code, detail: failure.detail }));
            }
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

function destroyItself(this: Duplex): void {
  this.destroy();
}

/** What extensions know of earlier messages, as compression does, a pod that is dialled again does not know. */
function withoutExtensions(headers: string[]): void {
  for (let index = headers.length - 2; index >= 0; index -= 2)
    if (headers[index]?.toLowerCase() === 'sec-websocket-extensions') headers.splice(index, 2);
}

function sendRedirect(response: ServerResponse, { location, headers }: BrowserRedirect): void {
  const all = { ...REDIRECT_HEADERS, location, 'content-length': '0' };
  response.writeHead(303, [...Object.entries(all).flat(), ...headers] as unknown as Record<string, string>);
  response.end();
}

function answerOurselves(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers, body }: OwnAnswer,
): void {
  closeAfterUnreadBody(request, response);
  const length = status === 204 || status === 304 ? {} : { 'content-length': Buffer.byteLength(body) };
  response.writeHead(status, { ...headers, ...length });
  response.end(body);
}

/** A body that nobody reads can't be followed by another request. */
function closeAfterUnreadBody(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined)
    response.shouldKeepAlive = false;
}
