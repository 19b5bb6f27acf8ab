import { cookiePrefixOf, guardOwnOrigin, isOurCookie, isolateAnswer } from '../browser/index.ts';

/** Where an answer's links and cookies are moved: in path forms the sandbox lives below a prefix. */
export interface RewriteContext {
  /** `/counter.default:8080`, without trailing slash; empty in forms that need no rewriting. */
  prefix: string;
  /** Authority of the sandbox as it may know itself: the Host that it was sent. */
  host: string;
  /** Whether the sandbox has an origin of its own, below a domain that it shares. */
  ownOrigin: boolean;
  /** Undefined for clients that are no browsers. */
  browser: BrowserRewrite | undefined;
}

/** What an answer to a browser needs besides. */
export interface BrowserRewrite {
  namespace: string;
  sandbox: string;
  /** Path form, and sandboxes are not trusted by each other. */
  isolated: boolean;
}

/** Headers for one hop alone. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'proxy-authenticate',
]);

/** An answer's fields (name, value, …) as the client gets them: end-to-end ones, byte for byte, `Location` and `Set-Cookie` moved below the prefix. */
export function responseHeaders(fields: readonly string[], context: RewriteContext): string[] {
  const headers: string[] = [];
  let listed: string | undefined;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    switch (name.length) {
      case 10:
      case 16:
      case 17:
      case 7:
      case 18: {
        const lower = name.toLowerCase();
        if (lower === 'connection' && value !== 'keep-alive' && value !== 'close')
          listed = listed === undefined ? value : `${listed},${value}`;
        if (HOP_BY_HOP.has(lower)) continue;
        if (lower === 'set-cookie') {
          const cookie = keepCookie(value, context);
          if (cookie !== undefined) headers.push(name, cookie);
          continue;
        }
        break;
      }
      case 8:
        if (context.prefix !== '' && name.toLowerCase() === 'location') {
          headers.push(name, moveLocation(value, context));
          continue;
        }
        break;
    }
    headers.push(name, value);
  }
  if (listed !== undefined) dropListed(headers, listed);
  if (context.browser !== undefined) {
    if (context.browser.isolated) isolateAnswer(headers);
    else if (context.ownOrigin) guardOwnOrigin(headers);
  }
  return headers;
}

/** A path, or a URL of the sandbox's own host, moved below the prefix; any other is left alone. */
export function moveLocation(value: string, { prefix, host }: RewriteContext): string {
  if (value.startsWith('/') && !value.startsWith('//')) return prefix + value;
  const match = /^(https?:)?\/\/([^/?#]*)(.*)$/i.exec(value);
  if (match === null || match[2]?.toLowerCase() !== host.toLowerCase()) return value;
  const rest = match[3] ?? '';
  return prefix + (rest.startsWith('/') ? rest : `/${rest}`);
}

/** A cookie as the client may have it: none with a name of ours, and kept to its sandbox where a host or domain is shared. */
export function keepCookie(value: string, { prefix, ownOrigin, browser }: RewriteContext): string | undefined {
  if (isOurCookie(value)) return undefined;
  if (prefix === '') return ownOrigin ? withoutDomain(value).join(';') : value;
  const moved = moveCookie(value, prefix);
  if (browser?.isolated !== true) return moved;
  return cookiePrefixOf(browser.namespace, browser.sandbox) + moved.trimStart();
}

/** A cookie kept to its sandbox: its path below the prefix, its domain dropped. */
export function moveCookie(value: string, prefix: string): string {
  const parts = withoutDomain(value);
  let found = false;
  const moved = parts.map((part, index) => {
    const path = index > 0 ? /^\s*path\s*=\s*(.*)$/i.exec(part)?.[1] : undefined;
    if (path === undefined) return part;
    found = true;
    return ` Path=${prefix}${path.startsWith('/') ? path : '/'}`;
  });
  if (!found) moved.push(` Path=${prefix}/`);
  return moved.join(';');
}

function withoutDomain(cookie: string): string[] {
  return cookie.split(';').filter((part, index) => index === 0 || !/^\s*domain\s*=/i.test(part));
}

function dropListed(headers: string[], connection: string): void {
  for (const part of connection.split(',')) {
    const name = part.trim().toLowerCase();
    if (name === '' || name === 'close' || name === 'keep-alive') continue;
    for (let index = headers.length - 2; index >= 0; index -= 2)
      if (headers[index]?.toLowerCase() === name) headers.splice(index, 2);
  }
}
