import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ForwardRequest, UpstreamFailure, UpstreamPools } from '../forward/index.ts';
import { ProblemError } from '../problem.ts';
import type { RoutingTable } from '../table/index.ts';
import type { ActivityTracker } from '../wake/index.ts';
import type { Exchange, Target } from './exchange.ts';

/** An exchange that is being forwarded: what `forward/` asks for, with methods in place of a closure for each. */
export class HttpExchange implements ForwardRequest {
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
  private readonly table: RoutingTable;
  private readonly fail: (error: unknown) => void;
  /** Whether the sandbox is counted as in use by this request. */
  private waiting = true;

  constructor(
    exchange: Exchange,
    target: Target,
    response: ServerResponse,
    headers: string[],
    { pools, activity, table }: { pools: UpstreamPools; activity: ActivityTracker; table: RoutingTable },
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
    this.table = table;
    this.fail = fail;
    activity.begin(target.route, target.waitedMs > 0 ? performance.now() : exchange.startedAtMs);
  }

  isCurrent(): boolean {
    return this.target.route.pod?.uid === this.target.pod.uid;
  }

  dialled(accepted: boolean): void {
    const { pod, port } = this.target;
    if (accepted) this.table.trust(pod.uid, port);
    else this.table.suspect(pod.uid, port, 0);
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
