/** Every cookie of the router's, and every one that it renamed, has this in its name. */
export const COOKIE_MARK = 'sandbox-router';

/** A session that a link became, or a token that came in a query (contract section 3.8). */
export type CookieKind = 'session' | 'token';

const NAMES = { session: COOKIE_MARK, token: `${COOKIE_MARK}-token` } as const;
/** Browsers keep cookies of these names only if they are Secure, and the first only for one host (RFC 6265bis section 4.1.3). */
const HOST_ONLY = '__Host-';
const SECURE_ONLY = '__Secure-';

/** Where a session cookie will be sent: to an origin that is one sandbox's, or below a path of a shared one. */
export interface CookieScope {
  /** Host of the request that sets it, with port. */
  host: string;
  /** `/` on a sandbox's own origin, else the sandbox's prefix. */
  path: string;
}

/** A `Set-Cookie`. Secure, save on this machine without TLS, where browsers would not all keep it; ends with the browser where no age is given. */
export function credentialCookie(
  kind: CookieKind,
  value: string,
  scope: CookieScope,
  encrypted: boolean,
  maxAgeSeconds?: number,
): string {
  const secure = encrypted || !isLoopbackHost(scope.host);
  const strength = secure ? (scope.path === '/' ? HOST_ONLY : SECURE_ONLY) : '';
  const age = maxAgeSeconds === undefined ? [] : [`Max-Age=${maxAgeSeconds}`];
  const attributes = [`Path=${scope.path}`, ...age, 'HttpOnly', 'SameSite=Lax', ...(secure ? ['Secure'] : [])];
  return [`${strength}${NAMES[kind]}=${value}`, ...attributes].join('; ');
}

/** Value of such a cookie. One without `__Host-` or `__Secure-` might be another subdomain's doing: it counts on this machine alone. */
export function credentialIn(kind: CookieKind, cookieHeader: string, host: string | undefined): string | undefined {
  const name = NAMES[kind];
  return (
    cookieIn(cookieHeader, HOST_ONLY + name) ??
    cookieIn(cookieHeader, SECURE_ONLY + name) ??
    (isLoopbackHost(host ?? '') ? cookieIn(cookieHeader, name) : undefined)
  );
}

/** The first cookie of a name. */
function cookieIn(cookieHeader: string, name: string): string | undefined {
  for (const pair of cookieHeader.split(';')) {
    const equals = pair.indexOf('=');
    if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
  }
  return undefined;
}

/** How cookies of a sandbox are called in path forms: one host has those of many. Labels have no dots, so that no two sandboxes share a beginning. */
export function cookiePrefixOf(namespace: string, sandbox: string): string {
  return `${COOKIE_MARK}.${namespace}.${sandbox}.`;
}

/**
 * A `Cookie` header as the sandbox gets it: none of ours, and with a prefix only those that this sandbox has set, under their own names. Undefined where
 * nothing is left.
 */
export function cookiesUpstream(cookieHeader: string, prefix: string | undefined): string | undefined {
  const kept: string[] = [];
  for (const pair of cookieHeader.split(';')) {
    const cookie = pair.trim();
    if (prefix !== undefined) {
      if (cookie.startsWith(prefix)) kept.push(cookie.slice(prefix.length));
    } else if (cookie !== '' && !isOurCookie(cookie)) kept.push(cookie);
  }
  return kept.length === 0 ? undefined : kept.join('; ');
}

/** Whether a cookie pair or a `Set-Cookie` value has a name that is ours. Browsers send a cookie without a name as its bare value: `=sandbox-router=x` is ours too. */
export function isOurCookie(cookie: string): boolean {
  const text = cookie.replace(/^[\s=]+/, '');
  return /^(?:__(?:host|secure|http|host-http)-)?sandbox-router/i.test(text);
}

/** Whether a host is this machine for itself. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name);
}
