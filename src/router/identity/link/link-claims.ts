/** What a link says once everything that narrows it is taken together. */
export interface LinkClaims {
  /** Names this link, for one use and for logs. */
  id: string;
  namespace: string;
  sandbox: string;
  /** Whose link it is: limits and classes are this tenant's. */
  tenant: string;
  /** Unix seconds; void from this second on. */
  expiresAtSeconds: number;
  /** Unix seconds by which a browser must have opened it; {@link expiresAtSeconds} where undefined. */
  openBySeconds: number | undefined;
  /** Where opening it leads: path and query. */
  open: string | undefined;
  /** The only port; any where undefined. */
  port: number | undefined;
  /** The only part of the sandbox that it reaches; everything where undefined. */
  pathPrefix: string | undefined;
  /** Methods that it allows, `UPGRADE` for WebSockets and other upgrades; all where undefined. */
  methods: readonly string[] | undefined;
  mayWake: boolean;
  oneUse: boolean;
}

/** What whoever holds a link may take from it (a caveat). Nothing here can give anything back. */
export interface Narrowing {
  expiresAtSeconds?: number;
  openBySeconds?: number;
  port?: number;
  pathPrefix?: string;
  methods?: readonly string[];
  mayWake?: false;
  oneUse?: true;
}

/** Short names in tokens, which have to fit into URLs. */
const CAVEAT_FIELDS: readonly string[] = ['exp', 'open', 'port', 'prefix', 'methods', 'wake', 'once'];
const ROOT_FIELDS: readonly string[] = ['id', 'ns', 'name', 'tenant', 'to', ...CAVEAT_FIELDS];
const MOST_METHODS = 10;

/** The first part of a token, as JSON. */
export function encodeRoot(claims: LinkClaims): string {
  const { id, namespace, sandbox, tenant, open: to } = claims;
  return JSON.stringify({ id, ns: namespace, name: sandbox, tenant, to, ...caveatOf(narrowingOf(claims)) });
}

/** A caveat, as JSON. */
export function encodeNarrowing(narrowing: Narrowing): string {
  return JSON.stringify(caveatOf(narrowing));
}

/** Reads the first part; undefined for anything that is not exactly one. */
export function decodeRoot(json: string): LinkClaims | undefined {
  const fields = readFields(json, ROOT_FIELDS);
  const narrowing = fields && readNarrowing(fields);
  if (fields === undefined || narrowing?.expiresAtSeconds === undefined) return undefined;
  const { id, ns, name, tenant, to } = fields;
  if (![id, ns, name, tenant].every((text) => typeof text === 'string' && text !== '')) return undefined;
  if (to !== undefined && !(typeof to === 'string' && isPath(to))) return undefined;
  const { expiresAtSeconds, openBySeconds, port, pathPrefix, methods, mayWake, oneUse } = narrowing;
  return {
    id: id as string,
    namespace: ns as string,
    sandbox: name as string,
    tenant: tenant as string,
    open: to as string | undefined,
    expiresAtSeconds,
    openBySeconds,
    port,
    pathPrefix,
    methods,
    mayWake: mayWake !== false,
    oneUse: oneUse === true,
  };
}

/** Reads a caveat; undefined for one that is not wholly understood: what can't be held to must not be passed over. */
export function decodeNarrowing(json: string): Narrowing | undefined {
  const fields = readFields(json, CAVEAT_FIELDS);
  return fields && readNarrowing(fields);
}

/** Claims less what the caveat takes; undefined where nothing is left. */
export function narrowed(claims: LinkClaims, by: Narrowing): LinkClaims | undefined {
  const port = by.port ?? claims.port;
  const methods =
    by.methods === undefined ? claims.methods : by.methods.filter((method) => claims.methods?.includes(method) ?? true);
  const pathPrefix = deeper(claims.pathPrefix, by.pathPrefix);
  if ((claims.port !== undefined && port !== claims.port) || methods?.length === 0 || pathPrefix === null)
    return undefined;
  return {
    ...claims,
    port,
    methods,
    pathPrefix,
    expiresAtSeconds: Math.min(claims.expiresAtSeconds, by.expiresAtSeconds ?? Number.POSITIVE_INFINITY),
    openBySeconds: earlier(claims.openBySeconds, by.openBySeconds),
    mayWake: claims.mayWake && by.mayWake !== false,
    oneUse: claims.oneUse || by.oneUse === true,
  };
}

/** Whether a text can be a path in a link: visible ASCII, and never read as another host. */
export function isPath(text: string): boolean {
  return text.length <= 1024 && /^\/(?!\/)[\x21-\x5b\x5d-\x7e]*$/.test(text);
}

/**
 * Whether a raw request target lies below a prefix. Sandboxes get targets as they came and may read `..` or `%2e` their own way: with a prefix, targets that
 * could be read as leaving it lie outside.
 */
export function isBelow(target: string, prefix: string): boolean {
  const path = target.split('?', 1)[0] ?? '';
  if (/\\|%5c|%2f|\/\/|%25/i.test(path) || /(^|\/)(\.|%2e){1,2}(;[^/]*)?(\/|$)/i.test(path)) return false;
  if (!path.startsWith(prefix)) return false;
  return prefix.endsWith('/') || path.length === prefix.length || path.charCodeAt(prefix.length) === 47;
}

function caveatOf({ expiresAtSeconds, openBySeconds, port, pathPrefix, methods, mayWake, oneUse }: Narrowing): object {
  const once = oneUse === true ? true : undefined;
  const wake = mayWake === false ? false : undefined;
  return { exp: expiresAtSeconds, open: openBySeconds, port, prefix: pathPrefix, methods, wake, once };
}

function narrowingOf(claims: LinkClaims): Narrowing {
  const { expiresAtSeconds, openBySeconds, port, pathPrefix, methods, mayWake, oneUse } = claims;
  return {
    expiresAtSeconds,
    ...(openBySeconds === undefined ? {} : { openBySeconds }),
    ...(port === undefined ? {} : { port }),
    ...(pathPrefix === undefined ? {} : { pathPrefix }),
    ...(methods === undefined ? {} : { methods }),
    ...(mayWake ? {} : { mayWake: false as const }),
    ...(oneUse ? { oneUse: true as const } : {}),
  };
}

function readFields(json: string, known: readonly string[]): Record<string, unknown> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  return Object.keys(value).every((key) => known.includes(key)) ? (value as Record<string, unknown>) : undefined;
}

function readNarrowing({
  exp,
  open,
  port,
  prefix,
  methods,
  wake,
  once,
}: Record<string, unknown>): Narrowing | undefined {
  const seconds = (value: unknown) => value === undefined || (Number.isSafeInteger(value) && (value as number) > 0);
  const valid =
    seconds(exp) &&
    seconds(open) &&
    (port === undefined || (Number.isInteger(port) && (port as number) >= 1 && (port as number) <= 65_535)) &&
    (prefix === undefined || (typeof prefix === 'string' && isPath(prefix) && isBelow(prefix, '/'))) &&
    (methods === undefined || isMethods(methods)) &&
    (wake === undefined || wake === false) &&
    (once === undefined || once === true);
  if (!valid) return undefined;
  return {
    ...(exp === undefined ? {} : { expiresAtSeconds: exp as number }),
    ...(open === undefined ? {} : { openBySeconds: open as number }),
    ...(port === undefined ? {} : { port: port as number }),
    ...(prefix === undefined ? {} : { pathPrefix: prefix as string }),
    ...(methods === undefined ? {} : { methods: methods as string[] }),
    ...(wake === undefined ? {} : { mayWake: false as const }),
    ...(once === undefined ? {} : { oneUse: true as const }),
  };
}

function isMethods(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.length <= MOST_METHODS &&
    value.every((method) => typeof method === 'string' && /^[A-Z]{1,20}$/.test(method))
  );
}

function earlier(left: number | undefined, right: number | undefined): number | undefined {
  return left === undefined || right === undefined ? (left ?? right) : Math.min(left, right);
}

/** The deeper of two prefixes if one lies below the other; null where they exclude each other. */
function deeper(left: string | undefined, right: string | undefined): string | undefined | null {
  if (left === undefined || right === undefined) return left ?? right;
  if (isBelow(right, left)) return right;
  return isBelow(left, right) ? left : null;
}
