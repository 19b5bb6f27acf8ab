import type { IncomingMessage } from 'node:http';
import type { SandboxAddress } from '../address/index.ts';
import { BrowserRedirect, credentialCookie, credentialIn } from '../browser/index.ts';
import type { ScannedHeaders } from '../forward/index.ts';
import {
  certificateCredential,
  type Identity,
  type OwnConnections,
  type Principal,
  sessionCredential,
} from '../identity/index.ts';

/** Which credentials are looked for beside headers. */
export interface AmbientOptions {
  /** Name of the query parameter that may carry a token (contract section 3.8); none where undefined. */
  tokenQuery: string | undefined;
  /** Whether client certificates are credentials. */
  certificates: boolean;
  ownConnections: OwnConnections | undefined;
}

/** A credential that nobody put into a header for this very request. */
export interface AmbientCredential {
  credential: string;
  /** Credentials from cookies and URLs count only if they are for one sandbox: others have no place there. */
  oneSandbox: boolean;
}

/** The credential that came by cookie, else by certificate, else with the connection itself; what a header says comes before either. */
export function ambientCredential(
  { certificates, tokenQuery, ownConnections }: AmbientOptions,
  { browser, host }: ScannedHeaders,
  request: IncomingMessage,
): AmbientCredential | undefined {
  if (browser?.cookie !== undefined) {
    const session = credentialIn('session', browser.cookie, host);
    if (session !== undefined) return { credential: sessionCredential(session), oneSandbox: true };
    const token = tokenQuery === undefined ? undefined : credentialIn('token', browser.cookie, host);
    if (token !== undefined) return { credential: token, oneSandbox: true };
  }
  const credential =
    (certificates ? certificateCredential(request.socket) : undefined) ?? ownConnections?.credentialOf(request);
  return credential === undefined ? undefined : { credential, oneSandbox: false };
}

/** Takes a token out of the query of a target; undefined where there is none. */
export function takeQueryToken(target: string, name: string): { token: string; rest: string } | undefined {
  const question = target.indexOf('?');
  if (question < 0 || !target.includes(`${name}=`, question)) return undefined;
  const pairs = target.slice(question + 1).split('&');
  const token = pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
  if (token === undefined) return undefined;
  const left = pairs.filter((pair) => !pair.startsWith(`${name}=`)).join('&');
  return { token, rest: target.slice(0, question) + (left === '' ? '' : `?${left}`) };
}

/** Who a token in a query is; a page that was asked for with one is asked for again without it, by cookie. @throws BrowserRedirect */
export async function principalByQuery(
  identity: Identity,
  token: string,
  request: IncomingMessage,
  scanned: ScannedHeaders,
  address: SandboxAddress,
  nowMs: number,
): Promise<Principal | undefined> {
  const principal = await identity.authenticate(token, nowMs);
  const only = principal?.sandbox;
  if (only === undefined || principal?.link !== undefined || !/^[\w.-]+$/.test(token)) return undefined;
  const isFor = only.name === address.sandbox && (address.namespace ?? only.namespace) === only.namespace;
  const asksForPage = request.headers.upgrade === undefined && (request.method === 'GET' || request.method === 'HEAD');
  if (!isFor || !asksForPage) return principal;
  const scope = { host: scanned.host ?? '', path: `${address.prefix}/` };
  const cookie = credentialCookie('token', token, scope, 'encrypted' in request.socket);
  // Below the same host, whatever the rest begins with.
  throw new BrowserRedirect(address.prefix + address.rest.replace(/^\/+/, '/'), ['set-cookie', cookie]);
}
