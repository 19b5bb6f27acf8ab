import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { Timeouts } from '../../config/index.ts';
import {
  createPacedStream,
  type ForwardRequest,
  type RequestBody,
  type UpstreamFailure,
  type UpstreamPools,
} from '../forward/index.ts';
import type { Limits, Tenant } from '../policy/index.ts';
import { ProblemError } from '../problem.ts';
import type { RoutingTable } from '../table/index.ts';
import {
  type ActivityTracker,
  type AsleepAnswers,
  isEventStream,
  isHeartbeat,
  preflightOf,
  readPreferences,
  serverTiming,
} from '../wake/index.ts';
import { type Exchange, isCurrent, type Target, timeoutsFor } from './exchange.ts';
import type { Relocate } from './locate.ts';

/** What forwarding needs besides the exchange itself. */
export interface HttpExchangeOptions {
  pools: UpstreamPools;
  activity: ActivityTracker;
  asleep: AsleepAnswers;
  table: RoutingTable;
  limits: Limits;
  timeouts: Timeouts;
  /** Bound of every body; 0 for none. */
  maxBodyBytes: number;
  /** Whether every answer tells where its tenant stands, not refusals alone. */
  rateLimitFields: boolean;
}

/** An exchange that is being forwarded: what `forward/` asks for, with methods in place of a closure for each. */
export class HttpExchange implements ForwardRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  pool: ForwardRequest['pool'];
  readonly timeouts: Timeouts;
  readonly path: string;
  readonly headers: string[];
  readonly body: Readable | null;
  readonly pacer: ForwardRequest['pacer'];
  readonly rewrite: ForwardRequest['rewrite'];
  private readonly exchange: Exchange;
  private target: Target;
  private readonly pools: UpstreamPools;
  private readonly activity: ActivityTracker;
  private readonly table: RoutingTable;
  private readonly asleep: AsleepAnswers;
  private readonly fields: readonly string[] | undefined;
  private readonly fail: (error: unknown) => void;
  private readonly relocate: Relocate;
  /** Whether the sandbox is counted as in use by this request. */
  private waiting = true;
  /** Whether the answer is server-sent events: their comments are nobody's use. */
  private events = false;
  private forwardedAtMs: number;

  constructor(
    exchange: Exchange,
    target: Target,
    response: ServerResponse,
    headers: string[],
    rewrite: ForwardRequest['rewrite'],
    { pools, activity, asleep, table, limits, maxBodyBytes, rateLimitFields, timeouts }: HttpExchangeOptions,
    fail: (error: unknown) => void,
    relocate: Relocate,
  ) {
    this.request = exchange.request;
    this.response = response;
    this.timeouts = timeoutsFor(target, timeouts);
    this.pool = pools.get(target.route, target.pod, target.port, this.timeouts.connectMs);
    this.path = target.address.rest;
    this.headers = headers;
    const { tenant } = target.principal;
    this.pacer = limits.pacer(tenant, target.route);
    this.body = target.scanned.hasBody ? bodyOf(exchange.request, target, this.pacer, limits, maxBodyBytes) : null;
    this.rewrite = rewrite;
    this.fields = rateLimitFields ? limits.fields(tenant, performance.now()) : undefined;
    this.exchange = exchange;
    this.target = target;
    this.activity = activity;
    this.asleep = asleep;
    this.table = table;
    this.fail = fail;
    this.relocate = relocate;
    this.pools = pools;
    this.forwardedAtMs = performance.now();
    exchange.forwardDelayMs = this.forwardedAtMs - exchange.startedAtMs - target.waitedMs;
    this.begin();
  }

  private begin(): void {
    const { intent, route } = this.target;
    if (intent === 'use') this.activity.begin(route, this.forwardedAtMs, this.exchange);
    else this.activity.beginQuiet(route);
  }

  head(status: number, headers: string[]): void {
    const { wake, intent, route, address, scanned, waitedMs } = this.target;
    if (this.fields !== undefined) headers.push(...this.fields);
    if (wake !== undefined) {
      headers.push('server-timing', serverTiming(wake, waitedMs, performance.now() - this.forwardedAtMs));
      const { waitMs } = readPreferences(scanned.prefer);
      if (waitMs !== undefined) headers.push('preference-applied', `wait=${waitMs / 1000}`);
    }
    if (intent === 'preflight') this.asleep.remember(route, preflightOf(address.rest, this.request), status, headers);
  }

  isCurrent(): boolean {
    return isCurrent(this.table, this.target);
  }

  renewPool(): void {
    const { route, pod, port } = this.target;
    this.pool = this.pools.get(route, pod, port, this.timeouts.connectMs);
  }

  async rejoin(): Promise<void> {
    this.answered();
    this.target = await this.relocate(this.exchange, this.response, this.target);
    if (this.response.destroyed) return;
    this.waiting = true;
    this.forwardedAtMs = performance.now();
    this.begin();
    this.renewPool();
  }

  refuse(error: unknown): void {
    this.answered();
    this.fail(error);
  }

  dialled(accepted: boolean): void {
    const { pod, port } = this.target;
    if (accepted) this.table.trust(pod.uid, port);
    else this.table.suspect(pod.uid, port, 0);
  }

  /** From its head on, a stream counts only while it moves. */
  streaming(headers: readonly string[]): void {
    this.events = isEventStream(headers);
    this.answered();
    // What goes the other way meanwhile is use as well; whoever sends the body has set it flowing.
    if (this.target.intent === 'use')
      this.body?.on('data', () => this.activity.touch(this.target.route, performance.now(), this.exchange));
  }

  private answered(): void {
    if (!this.waiting) return;
    this.waiting = false;
    if (this.target.intent === 'use') this.activity.end(this.target.route, performance.now());
    else this.activity.endQuiet(this.target.route);
  }

  moved(chunk: Buffer): void {
    if (this.target.intent === 'use' && !(this.events && isHeartbeat(chunk)))
      this.activity.touch(this.target.route, performance.now(), this.exchange);
  }

  done(status: number, failure: UpstreamFailure | undefined): void {
    this.answered();
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

/** The body as it is, or through what counts it where somebody must. A declared length was looked at before. */
function bodyOf(
  request: IncomingMessage,
  { principal, scanned }: Target,
  pacer: ForwardRequest['pacer'],
  limits: Limits,
  maxBodyBytes: number,
): Readable {
  const most = largestBody(limits, principal.tenant, maxBodyBytes);
  if (pacer === undefined && (scanned.contentLength >= 0 || most === Number.POSITIVE_INFINITY)) return request;
  const paced = createPacedStream(pacer, most);
  request.once('end', () => {
    (paced as RequestBody).rawTrailers = request.rawTrailers;
  });
  // No pipeline: it would cut the connection on which the refusal is to be sent.
  request.pipe(paced);
  request.once('close', () => (request.complete ? undefined : paced.destroy(new Error('the client left'))));
  return paced;
}

/** Bound of a tenant's bodies, the router's own included; Infinity for none. */
export function largestBody(limits: Limits, tenant: Tenant, maxBodyBytes: number): number {
  return Math.min(limits.maxBodyBytes(tenant), maxBodyBytes === 0 ? Number.POSITIVE_INFINITY : maxBodyBytes);
}
