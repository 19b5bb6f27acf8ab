import { type BrowserHeaders, COOKIE_MARK, noBrowserHeaders } from '../browser/index.ts';

/** One pass over a request's raw headers: what the router needs of them, and what goes on to the sandbox. */
export interface ScannedHeaders {
  host: string | undefined;
  authorization: string | undefined;
  sandboxAuthorization: string | undefined;
  sandboxId: string | undefined;
  sandboxNamespace: string | undefined;
  sandboxPort: string | undefined;
  sandboxUid: string | undefined;
  sandboxPodIp: string | undefined;
  sandboxTimeout: string | undefined;
  /** `Prefer`, all of its lines. */
  prefer: string | undefined;
  userAgent: string | undefined;
  /** `Sec-Purpose` or one of its forerunners. */
  purpose: string | undefined;
  /** `Access-Control-Request-Method`. */
  corsMethod: string | undefined;
  expectContinue: boolean;
  /** Whether a body follows: by Content-Length other than 0 or Transfer-Encoding. */
  hasBody: boolean;
  contentLength: number;
  forwardedFor: string | undefined;
  forwardedProto: string | undefined;
  forwardedHost: string | undefined;
  forwardedPrefix: string | undefined;
  /** A header that must come once came twice. */
  duplicate: string | undefined;
  /** Undefined for clients that are no browsers. */
  browser: BrowserHeaders | undefined;
  /** End-to-end headers as name, value, name, value, …; without credentials and forwarding headers. */
  upstream: string[];
}

/** What a header means here; numbers, as this is asked for every header of every request. */
const MEANING = {
  hopByHop: 0,
  host: 1,
  authorization: 2,
  sandboxAuthorization: 3,
  sandboxId: 4,
  sandboxNamespace: 5,
  sandboxPort: 6,
  sandboxUid: 7,
  sandboxPodIp: 8,
  sandboxTimeout: 9,
  expect: 10,
  contentLength: 11,
  transferEncoding: 12,
  connection: 13,
  forwardedFor: 14,
  forwardedProto: 15,
  forwardedHost: 16,
  forwardedPrefix: 17,
  te: 18,
  cookie: 19,
  origin: 20,
  fetchSite: 21,
  fetchMode: 22,
  fetchDest: 23,
  serviceWorker: 24,
  upgradeInsecure: 25,
  userAgent: 26,
  purpose: 27,
  corsMethod: 28,
  prefer: 29,
} as const;

/** Headers with a meaning here, by lower-case name (RFC 9110 section 7.6.1 for the hop-by-hop ones). */
const SPECIAL = new Map<string, number>([
  ['keep-alive', MEANING.hopByHop],
  ['proxy-connection', MEANING.hopByHop],
  ['proxy-authorization', MEANING.hopByHop],
  ['upgrade', MEANING.hopByHop],
  ['http2-settings', MEANING.hopByHop],
  ['forwarded', MEANING.hopByHop],
  ['x-real-ip', MEANING.hopByHop],
  ['host', MEANING.host],
  ['authorization', MEANING.authorization],
  ['sandbox-authorization', MEANING.sandboxAuthorization],
  ['x-sandbox-id', MEANING.sandboxId],
  ['x-sandbox-namespace', MEANING.sandboxNamespace],
  ['x-sandbox-port', MEANING.sandboxPort],
  ['x-sandbox-uid', MEANING.sandboxUid],
  ['x-sandbox-pod-ip', MEANING.sandboxPodIp],
  ['x-sandbox-timeout', MEANING.sandboxTimeout],
  ['expect', MEANING.expect],
  ['content-length', MEANING.contentLength],
  ['transfer-encoding', MEANING.transferEncoding],
  ['connection', MEANING.connection],
  ['te', MEANING.te],
  ['user-agent', MEANING.userAgent],
  ['sec-purpose', MEANING.purpose],
  ['purpose', MEANING.purpose],
  ['x-purpose', MEANING.purpose],
  ['x-moz', MEANING.purpose],
  ['access-control-request-method', MEANING.corsMethod],
  ['prefer', MEANING.prefer],
  ['x-forwarded-for', MEANING.forwardedFor],
  ['x-forwarded-proto', MEANING.forwardedProto],
  ['x-forwarded-host', MEANING.forwardedHost],
  ['x-forwarded-prefix', MEANING.forwardedPrefix],
  ['cookie', MEANING.cookie],
  ['origin', MEANING.origin],
  ['sec-fetch-site', MEANING.fetchSite],
  ['sec-fetch-mode', MEANING.fetchMode],
  ['sec-fetch-dest', MEANING.fetchDest],
  ['service-worker', MEANING.serviceWorker],
  ['upgrade-insecure-requests', MEANING.upgradeInsecure],
]);

/** Scans raw headers (name, value, …, as node:http gives them). */
export function scanHeaders(raw: readonly string[]): ScannedHeaders {
  const scanned: ScannedHeaders = {
    host: undefined,
    authorization: undefined,
    sandboxAuthorization: undefined,
    sandboxId: undefined,
    sandboxNamespace: undefined,
    sandboxPort: undefined,
    sandboxUid: undefined,
    sandboxPodIp: undefined,
    sandboxTimeout: undefined,
    prefer: undefined,
    userAgent: undefined,
    purpose: undefined,
    corsMethod: undefined,
    expectContinue: false,
    hasBody: false,
    contentLength: -1,
    forwardedFor: undefined,
    forwardedProto: undefined,
    forwardedHost: undefined,
    forwardedPrefix: undefined,
    duplicate: undefined,
    browser: undefined,
    upstream: [],
  };
  const { upstream } = scanned;
  let connection: string | undefined;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    const meaning = SPECIAL.get(name) ?? SPECIAL.get(name.toLowerCase());
    if (meaning === undefined) {
      upstream.push(name, value);
      continue;
    }
    switch (meaning) {
      case MEANING.hopByHop:
        break;
      case MEANING.host:
        if (scanned.host !== undefined) scanned.duplicate = 'Host';
        scanned.host = value;
        break;
      case MEANING.authorization:
        if (scanned.authorization !== undefined) scanned.duplicate = 'Authorization';
        scanned.authorization = value;
        break;
      case MEANING.sandboxAuthorization:
        if (scanned.sandboxAuthorization !== undefined) scanned.duplicate = 'Sandbox-Authorization';
        scanned.sandboxAuthorization = value;
        break;
      case MEANING.sandboxId:
        if (scanned.sandboxId !== undefined) scanned.duplicate = 'X-Sandbox-ID';
        scanned.sandboxId = value;
        upstream.push(name, value);
        break;
      case MEANING.sandboxNamespace:
        if (scanned.sandboxNamespace !== undefined) scanned.duplicate = 'X-Sandbox-Namespace';
        scanned.sandboxNamespace = value;
        upstream.push(name, value);
        break;
      case MEANING.sandboxPort:
        if (scanned.sandboxPort !== undefined) scanned.duplicate = 'X-Sandbox-Port';
        scanned.sandboxPort = value;
        upstream.push(name, value);
        break;
      case MEANING.sandboxUid:
        scanned.sandboxUid = value;
        upstream.push(name, value);
        break;
      case MEANING.sandboxPodIp:
        scanned.sandboxPodIp = value;
        upstream.push(name, value);
        break;
      case MEANING.sandboxTimeout:
        scanned.sandboxTimeout = value;
        upstream.push(name, value);
        break;
      case MEANING.userAgent:
        scanned.userAgent = value;
        upstream.push(name, value);
        break;
      case MEANING.purpose:
        scanned.purpose = value;
        upstream.push(name, value);
        break;
      case MEANING.corsMethod:
        scanned.corsMethod = value;
        upstream.push(name, value);
        break;
      case MEANING.prefer:
        scanned.prefer = scanned.prefer === undefined ? value : `${scanned.prefer}, ${value}`;
        upstream.push(name, value);
        break;
      case MEANING.expect:
        scanned.expectContinue = value.toLowerCase() === '100-continue';
        break;
      case MEANING.contentLength:
        scanned.contentLength = Number(value);
        if (scanned.contentLength > 0) scanned.hasBody = true;
        upstream.push(name, value);
        break;
      case MEANING.transferEncoding:
        scanned.hasBody = true;
        break;
      case MEANING.connection:
        connection = connection === undefined ? value : `${connection},${value}`;
        break;
      case MEANING.te:
        if (/\btrailers\b/i.test(value)) upstream.push('te', 'trailers');
        break;
      case MEANING.forwardedFor:
        scanned.forwardedFor = scanned.forwardedFor === undefined ? value : `${scanned.forwardedFor}, ${value}`;
        break;
      case MEANING.forwardedProto:
        scanned.forwardedProto = value;
        break;
      case MEANING.forwardedHost:
        scanned.forwardedHost = value;
        break;
      case MEANING.forwardedPrefix:
        scanned.forwardedPrefix = value;
        break;
      case MEANING.cookie:
        if (value.includes(COOKIE_MARK)) addBrowserHeader(scanned, meaning, value);
        else upstream.push(name, value);
        break;
      default:
        addBrowserHeader(scanned, meaning, value);
        upstream.push(name, value);
    }
  }
  if (connection !== undefined && !isPlainConnection(connection)) dropListed(upstream, connection);
  return scanned;
}

/** Called for the headers of browsers alone. A cookie of ours does not go on: who asks for it puts back what is left. */
function addBrowserHeader(scanned: ScannedHeaders, meaning: number, value: string): void {
  scanned.browser ??= noBrowserHeaders();
  const { browser } = scanned;
  switch (meaning) {
    case MEANING.cookie:
      browser.cookie = browser.cookie === undefined ? value : `${browser.cookie}; ${value}`;
      browser.renders = true;
      break;
    case MEANING.origin:
      if (browser.origin !== undefined) scanned.duplicate = 'Origin';
      browser.origin = value;
      break;
    case MEANING.fetchSite:
      browser.site = value;
      browser.renders = true;
      break;
    case MEANING.fetchMode:
      browser.mode = value;
      browser.renders = true;
      break;
    case MEANING.fetchDest:
      browser.dest = value;
      browser.renders = true;
      break;
    case MEANING.serviceWorker:
      browser.serviceWorker = true;
      browser.renders = true;
      break;
    case MEANING.upgradeInsecure:
      browser.renders = true;
      break;
  }
}

function isPlainConnection(value: string): boolean {
  return value === 'keep-alive' || value === 'close' || value === 'Keep-Alive' || value === 'Close';
}

/** Headers that `Connection` names are for this hop alone (RFC 9110 section 7.6.1). */
function dropListed(headers: string[], connection: string): void {
  for (const part of connection.split(',')) {
    const listed = part.trim().toLowerCase();
    if (listed === '' || listed === 'close' || listed === 'keep-alive' || listed === 'upgrade' || listed === 'te')
      continue;
    for (let index = headers.length - 2; index >= 0; index -= 2) {
      if (headers[index]?.toLowerCase() === listed) headers.splice(index, 2);
    }
  }
}
