import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type AddressOptions, isAddressProblem, parseAddress } from '../address/index.ts';
import { credentialCookie, ownHostOf, portSuffix, REDIRECT_HEADERS } from '../browser/index.ts';
import type { TrustedProxies } from '../forward/index.ts';
import { isBelow, isPath, type LinkClaims, type Links, type Principal } from '../identity/index.ts';
import type { Tenants } from '../policy/index.ts';
import { ProblemError, renderProblem } from '../problem.ts';
import type { Callers } from './caller.ts';
import { endSecondsOf, timeOf } from './credential-requests.ts';
import * as schemas from './schemas.ts';

/** What links need. */
export interface LinkRoutesOptions {
  /** Undefined where no key is configured. */
  links: Links | undefined;
  tenants: Tenants;
  address: AddressOptions;
  proxies: TrustedProxies;
}

/** What `POST /-/v1/links` takes. */
interface LinkRequest {
  sandbox: string;
  namespace?: string;
  path?: string;
  pathPrefix?: string;
  port?: number;
  lifetime?: string;
  methods?: string[];
  oneUse?: boolean;
  mayWake?: boolean;
}

/** `POST /-/v1/links`, for whoever may reach the sandbox: a link allows no more than they may. `GET /-/link/…` opens one. */
export function registerLinkRoutes(fastify: FastifyInstance, callers: Callers, options: LinkRoutesOptions): void {
  const { links, address, tenants, proxies } = options;

  const schema = {
    summary: 'A link to a sandbox, for browsers',
    body: schemas.linkBody,
    response: { 201: schemas.linkView, '4xx': schemas.problem },
  };
  fastify.post('/-/v1/links', { schema }, async (request, reply) => {
    const asked = request.body as LinkRequest;
    const { route, principal } = await callers.sandboxNamed(request, asked, ['route', 'manage']);
    if (links === undefined)
      throw new ProblemError({ code: 'not_found', detail: 'This router makes no links: it has no --link-keys.' });
    const { namespace, name: sandbox } = route.sandbox;
    const expiresAtSeconds = endSecondsOf(principal, asked.lifetime, Date.now());
    const token = links.mint({
      namespace,
      sandbox,
      tenant: tenantFor(principal, namespace, tenants),
      expiresAtSeconds,
      open: pathOf(asked.path, 'path'),
      pathPrefix: prefixOf(asked.pathPrefix),
      port: asked.port,
      methods: asked.methods,
      mayWake: asked.mayWake !== false && (principal.scopes.has('wake') || principal.scopes.has('manage')),
      oneUse: asked.oneUse === true,
    });
    const parts = { sandbox, namespace, port: asked.port };
    const own = address.baseDomain === undefined ? undefined : ownHostOf(parts, address.baseDomain);
    const { host, scheme } = clientView(request);
    const authority = own === undefined ? host : own + portSuffix(host);
    const path = `/-/link/${token}`;
    reply.code(201).headers(REDIRECT_HEADERS);
    callers.did(request, 'link', { namespace, sandbox });
    return { url: `${scheme}://${authority}${path}`, path, sandbox, namespace, expiresAt: timeOf(expiresAtSeconds) };
  });

  fastify.get('/-/link/*', { schema: { hide: true } }, async (request, reply) => {
    const { '*': token = '' } = request.params as { '*'?: string };
    const nowMs = Date.now();
    const claims = links?.read(token, nowMs);
    const tooLate = claims?.openBySeconds !== undefined && nowMs / 1000 >= claims.openBySeconds;
    if (links === undefined || claims === undefined || tooLate || tenants.find(claims.tenant) === undefined)
      return refuse(request, reply, 'unauthenticated', 'This link is not valid, or not any more. Ask for a new one.');
    // A link that is only looked at is not used up, and nobody is let in by it.
    if (isLookOnly(request))
      return refuse(request, reply, 'forbidden', 'Links are opened by following them, not by fetching ahead.');
    const view = clientView(request);
    const ownHost = address.baseDomain === undefined ? undefined : ownHostOf(claims, address.baseDomain);
    if (ownHost !== undefined && ownHost !== view.host.replace(/:\d+$/, '').toLowerCase())
      return redirect(reply, `//${ownHost}${portSuffix(view.host)}${request.raw.url ?? ''}`);
    // Below another sandbox's origin, the cookie would be that one's.
    if (ownHost === undefined && isSandboxHost(view.host, address))
      return refuse(request, reply, 'bad_request', 'This link belongs to another host.');
    if (claims.oneUse && !links.use(claims, nowMs))
      return refuse(request, reply, 'forbidden', 'This link was for one use, and was used.');
    const prefix = ownHost === undefined ? pathPrefixOf(claims) : '';
    const maxAgeSeconds = Math.max(1, Math.floor(claims.expiresAtSeconds - nowMs / 1000));
    const scope = { host: view.host, path: prefix === '' ? '/' : prefix };
    reply.header(
      'set-cookie',
      credentialCookie('session', links.session(claims), scope, view.scheme === 'https', maxAgeSeconds),
    );
    return redirect(reply, prefix + landingOf(claims));
  });

  function clientView({ headers, raw }: FastifyRequest): { host: string; scheme: string } {
    const trusted = proxies.trusts(raw.socket.remoteAddress ?? '');
    const forwarded = (name: string) =>
      trusted
        ? String(headers[name] ?? '')
            .split(',', 1)[0]
            ?.trim()
        : '';
    const scheme = forwarded('x-forwarded-proto') || ('encrypted' in raw.socket ? 'https' : 'http');
    return { host: forwarded('x-forwarded-host') || (headers.host ?? ''), scheme };
  }
}

function refuse(
  request: FastifyRequest,
  reply: FastifyReply,
  code: 'unauthenticated' | 'forbidden' | 'bad_request',
  detail: string,
): FastifyReply {
  const asPage = (request.headers.accept ?? '').includes('text/html');
  const { status, headers, body } = renderProblem({ code, detail }, request.id, asPage);
  return reply
    .code(status)
    .headers({ ...headers, 'referrer-policy': 'no-referrer' })
    .send(body);
}

function redirect(reply: FastifyReply, location: string): FastifyReply {
  return reply.code(303).headers(REDIRECT_HEADERS).header('location', location).send();
}

/** Whose the link is: the caller's tenant; for operators that are none, whose namespace it is. */
function tenantFor({ tenant }: Principal, namespace: string, tenants: Tenants): string {
  const own = tenants.find(tenant.name);
  if (own !== undefined && tenants.isConfigured() && (own.namespaces === '*' || own.namespaces.has(namespace)))
    return own.name;
  const owner = tenants.ownerOf(namespace);
  if (owner === undefined)
    throw new ProblemError({ code: 'forbidden', detail: `No tenant owns the namespace ${namespace}.` });
  return owner.name;
}

function isSandboxHost(host: string, address: AddressOptions): boolean {
  const headers = { host, sandboxId: undefined, sandboxNamespace: undefined, sandboxPort: undefined };
  const found = parseAddress('/-', headers, address);
  return !isAddressProblem(found) && found.form === 'host';
}

function pathPrefixOf({ sandbox, namespace, port }: LinkClaims): string {
  return `/${sandbox}.${namespace}${port === undefined ? '' : `:${port}`}`;
}

/** Where it leads; a link that was narrowed to another part leads there. */
function landingOf({ open = '/', pathPrefix }: LinkClaims): string {
  return pathPrefix === undefined || isBelow(open, pathPrefix) ? open : pathPrefix;
}

/** Requests that browsers make before anybody has clicked, and those of link checkers. */
function isLookOnly({ method, headers }: FastifyRequest): boolean {
  const purpose = headers['sec-purpose'] ?? headers.purpose ?? headers['x-moz'];
  return method === 'HEAD' || (purpose !== undefined && /prefetch|prerender|preview/i.test(String(purpose)));
}

function pathOf(text: string | undefined, field: string): string | undefined {
  if (text !== undefined && !isPath(text))
    throw new ProblemError({ code: 'bad_request', detail: `"${field}" must be a path such as /notebooks/.` });
  return text;
}

function prefixOf(text: string | undefined): string | undefined {
  const prefix = pathOf(text, 'pathPrefix');
  if (prefix !== undefined && !(isBelow(prefix, '/') && !prefix.includes('?')))
    throw new ProblemError({ code: 'bad_request', detail: '"pathPrefix" must be a plain path without "..".' });
  return prefix;
}
