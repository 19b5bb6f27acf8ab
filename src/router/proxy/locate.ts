import type { ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { type AddressOptions, isAddressProblem, parseAddress, type SandboxAddress } from '../address/index.ts';
import { type BrowserHeaders, isTopNavigation } from '../browser/index.ts';
import { type ScannedHeaders, scanHeaders } from '../forward/index.ts';
import {
  bearerToken,
  type Identity,
  type Links,
  maySee,
  type Principal,
  refusedByLink,
  type SandboxName,
} from '../identity/index.ts';
import type { Limits, Tenant } from '../policy/index.ts';
import { type Problem, ProblemError } from '../problem.ts';
import type { PodRecord, Route, RoutingTable } from '../table/index.ts';
import {
  type AsleepAnswers,
  approach,
  heldBytesOf,
  type Intent,
  type IntentReader,
  isLeaving,
  isNavigation,
  preflightOf,
  readPreferences,
  type Wake,
  type Waker,
} from '../wake/index.ts';
import { type AmbientOptions, ambientCredential, principalByQuery, takeQueryToken } from './ambient.ts';
import type { BrowserGate, BrowserRequest } from './browser-gate.ts';
import type { Exchange, Target } from './exchange.ts';
import { wakeRequestOf } from './wake-request.ts';

/** What finding a sandbox for a request needs. */
export interface LocateOptions {
  table: RoutingTable;
  isSynced(): boolean;
  /** Whether the table is older than it may be to route by. */
  isStale(): boolean;
  /** Undefined lets anybody in. */
  identity: Identity | undefined;
  anonymous: Principal;
  waker: Waker;
  intents: IntentReader;
  asleep: AsleepAnswers;
  limits: Limits;
  /** Why a tenant may not be sent to a sandbox by its classes. */
  refusedByClass(tenant: Tenant, route: Route, pod: PodRecord | undefined): Problem | undefined;
  address: AddressOptions;
  /** Told whose request begins a wake, and how that wake ended. */
  woke(exchange: Exchange): void;
  wakeEnded(exchange: Exchange, wake: Wake): void;
  maxBodyBytes: number;
  browsers: BrowserGate;
  ambient: AmbientOptions;
  links: Links | undefined;
}

/** Everything up to forwarding: address → identity → table → policy → wake. Answers at once where nothing has to be waited for. @throws ProblemError */
export type Locate = (exchange: Exchange, client: ServerResponse | Duplex) => Target | Promise<Target>;

/** Step 5 once more, for a request of which nothing has reached its pod: the pod was paused or replaced in that very moment. @throws ProblemError @throws OwnAnswer */
export type Relocate = (exchange: Exchange, client: ServerResponse | Duplex, target: Target) => Promise<Target>;

/** The way of a request to its sandbox (design section 3, steps 1 to 5). */
export function createLocate(options: LocateOptions): { locate: Locate; relocate: Relocate } {
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
    if (exchange.trace !== undefined) exchange.trace.form = address.form;
    const { identity } = options;
    const { tokenQuery } = options.ambient;
    const inQuery = tokenQuery === undefined ? undefined : takeQueryToken(address.rest, tokenQuery);
    if (inQuery !== undefined) address.rest = inQuery.rest;
    const nowMs = Date.now();
    const { browser } = scanned;
    if (browser !== undefined)
      options.browsers.enter(browserRequest(exchange, client, scanned, browser, address), address.namespace, nowMs);
    if (identity === undefined) {
      if (browser !== undefined)
        options.browsers.refuseOthers(browserRequest(exchange, client, scanned, browser, address));
      return admit(exchange, scanned, address, options.anonymous, client);
    }
    const credential = bearerToken(scanned.sandboxAuthorization ?? scanned.authorization);
    const known = credential === undefined ? undefined : identity.cached(credential, nowMs);
    if (known !== undefined) return admit(exchange, scanned, address, known, client);
    return identify(identity, credential, inQuery?.token, exchange, scanned, address, client, nowMs).then(
      (principal) => {
        if (principal === undefined)
          throw new ProblemError({
            code: 'unauthenticated',
            detail:
              browser !== undefined && isTopNavigation(browser, exchange.request.method)
                ? 'This browser has no valid session here. Open a link to this sandbox; "sandbox-router link" prints one.'
                : 'A valid credential is needed: "Authorization: Bearer <token>".',
          });
        return admit(exchange, scanned, address, principal, client);
      },
    );
  }

  /** Who calls, where the hot path does not know: by header, else by query, else by cookie or certificate (contract section 3.8). */
  async function identify(
    identity: Identity,
    credential: string | undefined,
    queryToken: string | undefined,
    exchange: Exchange,
    scanned: ScannedHeaders,
    address: SandboxAddress,
    client: ServerResponse | Duplex,
    nowMs: number,
  ): Promise<Principal | undefined> {
    const principal = credential === undefined ? undefined : await identity.authenticate(credential, nowMs);
    if (principal !== undefined || scanned.sandboxAuthorization !== undefined) return principal;
    if (queryToken !== undefined) {
      exchange.ambient = true;
      return principalByQuery(identity, queryToken, exchange.request, scanned, address, nowMs);
    }
    const ambient = ambientCredential(options.ambient, scanned, exchange.request);
    if (ambient === undefined) return undefined;
    const found = await identity.authenticate(ambient.credential, nowMs);
    if (found === undefined || (ambient.oneSandbox && found.sandbox === undefined)) return undefined;
    const { browser } = scanned;
    if (browser !== undefined)
      options.browsers.refuseOthers(browserRequest(exchange, client, scanned, browser, address));
    exchange.ambient = true;
    return found;
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
    exchange.tenant = principal.tenant.name;
    if (scanned.browser !== undefined) {
      const { browser } = scanned;
      options.browsers.enter(browserRequest(exchange, client, scanned, browser, address), namespace, Date.now());
      options.browsers.settleCookies(scanned, address, namespace);
    }
    if (!principal.scopes.has('route'))
      throw new ProblemError({ code: 'forbidden', detail: 'This credential may not reach sandboxes.' });
    const { tenant } = principal;
    refuseIf(options.limits.enter(tenant, performance.now()));
    exchange.usage = tenant.usage;
    if (scanned.contentLength > options.limits.maxBodyBytes(tenant))
      throw new ProblemError({
        code: 'body_too_large',
        detail: `Bodies may have ${options.limits.maxBodyBytes(tenant)} bytes, this one has ${scanned.contentLength}.`,
      });
    const { sandbox: only, mayProxy } = principal;
    if (only !== undefined) refuseIf(refusedByToken(only, namespace, address.sandbox, scanned));
    const name = { namespace, name: address.sandbox };
    const allowed = maySee(principal, name) && (mayProxy === undefined || mayProxy(name));
    if (typeof allowed === 'boolean') return find(exchange, scanned, address, principal, client, namespace, allowed);
    return allowed.then((answer) => find(exchange, scanned, address, principal, client, namespace, answer));
  }

  function find(
    exchange: Exchange,
    scanned: ScannedHeaders,
    address: SandboxAddress,
    principal: Principal,
    client: ServerResponse | Duplex,
    namespace: string,
    allowed: boolean,
  ): Target | Promise<Target> {
    const { tenant } = principal;
    const { request } = exchange;
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
    if (options.isStale())
      throw new ProblemError({
        code: 'table_not_ready',
        detail: 'The API server was not heard of for longer than maxTableAge allows.',
        retryAfterSeconds: 5,
      });
    exchange.route = route;
    exchange.rest = address.rest;
    const port = address.port ?? route.sandbox.port;
    if (principal.link !== undefined) useLink(principal.link, exchange, address, port, client);
    const routable = options.table.isRoutable(route);
    refuseIf(options.refusedByClass(tenant, route, routable ? route.pod : undefined));
    refuseIf(options.limits.enterSandbox(tenant, route, performance.now()));
    const upgrades = !('writeHead' in client);
    const intent = upgrades
      ? 'use'
      : options.intents.read(request.method ?? 'GET', address.rest, scanned, route.sandbox.asleep);
    exchange.intent = intent;
    if (routable) {
      const pod = route.pod as PodRecord;
      // Where dials fail, one at a time tries: the others wait for it as they do for a wake.
      if (!pod.suspectPorts?.has(port) && !isLeaving(route, intent))
        return { address, scanned, principal, route, port, pod, waitedMs: 0, intent, wake: undefined };
    }
    return wait(exchange, scanned, address, principal, client, route, port, intent);
  }

  /** Step 5: the sandbox can't be sent requests now. */
  async function wait(
    exchange: Exchange,
    scanned: ScannedHeaders,
    address: SandboxAddress,
    principal: Principal,
    client: ServerResponse | Duplex,
    route: Route,
    port: number,
    intent: Intent,
  ): Promise<Target> {
    const { tenant } = principal;
    const { request } = exchange;
    const { pod, waitedMs, wake } = await approach(options.waker, options.asleep, {
      ...wakeRequestOf(options, exchange, principal, route, port),
      joined: ({ phases }) => exchange.trace?.waitsFor(phases),
      method: request.method ?? 'GET',
      path: address.rest,
      intent,
      preflight: preflightOf(address.rest, request),
      // An upgrade can be answered by what it asks for, or by a problem.
      preferences: readPreferences('writeHead' in client ? scanned.prefer : undefined),
      navigates: 'writeHead' in client && request.method === 'GET' && isNavigation(request),
      callerTimeoutMs: sandboxTimeoutMs(scanned.sandboxTimeout),
      spentMs: performance.now() - exchange.startedAtMs,
      bytes: heldBytesOf({ ...scanned, rawHeaders: request.rawHeaders, url: request.url ?? '' }),
      signal: closeSignal(client),
    });
    refuseIf(options.refusedByClass(tenant, route, pod));
    return { address, scanned, principal, route, port, pod, waitedMs, intent, wake };
  }

  /** @throws ProblemError where a link does not allow the request, or was used before */
  function useLink(
    link: NonNullable<Principal['link']>,
    { request }: Exchange,
    address: SandboxAddress,
    port: number,
    client: ServerResponse | Duplex,
  ): void {
    const method = request.method ?? '';
    const detail = refusedByLink(link, { method, upgrade: isUpgrade(client), target: address.rest, port });
    if (detail !== undefined) throw new ProblemError({ code: 'forbidden', detail });
    if (link.oneUse && options.links?.use(link, Date.now()) !== true)
      throw new ProblemError({ code: 'forbidden', detail: 'This link was for one use, and was used.' });
  }

  return {
    locate,
    relocate: (exchange, client, { scanned, address, principal, route, port, intent }) =>
      wait(exchange, scanned, address, principal, client, route, port, intent),
  };
}

/** Whether what waits for an answer is a bare socket: it asked for an upgrade. */
function isUpgrade(client: ServerResponse | Duplex): boolean {
  return !('writeHead' in client);
}

function browserRequest(
  { request: { method } }: Exchange,
  client: ServerResponse | Duplex,
  scanned: ScannedHeaders,
  browser: BrowserHeaders,
  address: SandboxAddress,
): BrowserRequest {
  return { method, upgrade: isUpgrade(client), scanned, browser, address };
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
      detail: 'This credential names its sandbox; X-Sandbox-Pod-IP and X-Sandbox-UID are refused.',
    };
  if (only.namespace !== namespace || only.name !== name)
    return { code: 'forbidden', detail: 'This credential is for another sandbox.' };
  return undefined;
}

/** @throws ProblemError */
function refuseIf(problem: Problem | undefined): void {
  if (problem !== undefined) throw new ProblemError(problem);
}

/** Aborted when the client leaves; made only for requests that wait. */
function closeSignal(connection: ServerResponse | Duplex): AbortSignal {
  const controller = new AbortController();
  // With a reason of its own: the usual one is an Error with a stack, made at the end of each of them.
  connection.once('close', () => controller.abort('the client left'));
  return controller.signal;
}

/** Seconds, as the SDKs send them; undefined for anything else. */
function sandboxTimeoutMs(header: string | undefined): number | undefined {
  const seconds = Number(header);
  return header === undefined || !Number.isFinite(seconds) || seconds <= 0 ? undefined : seconds * 1000;
}
