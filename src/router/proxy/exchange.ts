import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Timeouts } from '../../config/index.ts';
import type { RequestTrace } from '../../telemetry/index.ts';
import type { SandboxAddress } from '../address/index.ts';
import type { ScannedHeaders } from '../forward/index.ts';
import type { Principal } from '../identity/index.ts';
import { pathOf } from '../ledger/index.ts';
import type { TenantUsage } from '../policy/index.ts';
import type { Problem } from '../problem.ts';
import type { PodRecord, Route, RoutingTable, UseOrigin } from '../table/index.ts';
import type { Intent, Use, Wake } from '../wake/index.ts';

/** One finished request, for metrics and the access log. */
export interface RequestOutcome {
  request: IncomingMessage;
  /** The client's connection; a request whose body was sent on knows it no more. */
  connection: Socket;
  status: number;
  durationMs: number;
  /** From its head until it went to its pod, a wait for a wake aside; negative where it never did. */
  forwardDelayMs: number;
  sandbox: string | undefined;
  namespace: string | undefined;
  credentialId: string | undefined;
  tenant: string | undefined;
  problem: Problem | undefined;
  requestId: string | undefined;
  /** The sandbox that it was for, once it is clear that the caller may know of it. */
  route: Route | undefined;
  /** Path that the sandbox gets, without its query. */
  path(): string;
  intent: Intent | undefined;
  /** Undefined where requests are not traced. */
  trace: RequestTrace | undefined;
}

/** What finding its way made of a request. */
export interface Target {
  address: SandboxAddress;
  scanned: ScannedHeaders;
  principal: Principal;
  route: Route;
  pod: PodRecord;
  port: number;
  waitedMs: number;
  /** Why the request comes: only `use` keeps the sandbox awake. */
  intent: Intent;
  /** The wake that it waited for; undefined where it did not have to. */
  wake: Wake | undefined;
}

/** Bounds of time for a request: the router's, narrowed or widened by its tenant, and then by its sandbox. */
export function timeoutsFor({ principal, route }: Target, defaults: Timeouts): Timeouts {
  const ofTenant = principal.tenant.timeouts;
  const own = route.sandbox.timeouts;
  return ofTenant === undefined && own === undefined ? defaults : { ...defaults, ...ofTenant, ...own };
}

/** Whether the pod of a target is still the one that its sandbox's requests go to. */
export function isCurrent(table: RoutingTable, { route, pod }: Target): boolean {
  return route.pod?.uid === pod.uid && table.isRoutable(route);
}

/** What ends with an exchange. */
export interface ExchangeEnd {
  /** It ended; called once. */
  ended(exchange: Exchange): void;
}

/**
 * One request on its way: what is known of it so far, and in the end what became of it. A class, and the very object that metrics and the access log get:
 * it is made for every request, and closures over its parts would cost more than all of them.
 */
export class Exchange implements RequestOutcome, Use {
  private kept: IncomingMessage | undefined;
  private readonly method: string;
  readonly connection: Socket;
  readonly startedAtMs: number;
  private readonly end: ExchangeEnd;
  sandbox: string | undefined = undefined;
  namespace: string | undefined = undefined;
  credentialId: string | undefined = undefined;
  tenant: string | undefined = undefined;
  route: Route | undefined = undefined;
  intent: Intent | undefined = undefined;
  trace: RequestTrace | undefined = undefined;
  /** Path and query as the sandbox gets them. */
  rest = '';
  /** Whether the right to be here came by itself (cookie, certificate): the client's `Authorization` is the sandbox's then. */
  ambient = false;
  /** Limits in which the request is counted until it ends. */
  usage: TenantUsage | undefined = undefined;
  status = 0;
  durationMs = 0;
  forwardDelayMs = -1;
  problem: Problem | undefined = undefined;
  requestId: string | undefined = undefined;
  private finished = false;

  constructor(request: IncomingMessage, startedAtMs: number, end: ExchangeEnd) {
    this.kept = request;
    this.method = request.method ?? 'GET';
    this.connection = request.socket;
    this.startedAtMs = startedAtMs;
    this.end = end;
  }

  /** @throws Error once it was let go of */
  get request(): IncomingMessage {
    if (this.kept === undefined) throw new Error('the request was answered long ago');
    return this.kept;
  }

  path(): string {
    return pathOf(this.rest);
  }

  describeUse(): UseOrigin {
    const { credentialId = '', method } = this;
    return { via: 'request', credential: credentialId, method, path: this.path() };
  }

  /** Lets go of a request that is answered: whom a tunnel was opened for must be known as long as it is open, with headers and all that would be kilobytes each. */
  letGo(): void {
    this.kept = undefined;
  }

  /** Takes the outcome; only the first counts. */
  finish(status: number, problem?: Problem, requestId?: string): void {
    if (this.finished) return;
    this.finished = true;
    this.status = status;
    this.problem = problem;
    this.requestId = requestId;
    this.durationMs = performance.now() - this.startedAtMs;
    this.end.ended(this);
  }
}
