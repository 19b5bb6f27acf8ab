import type { SandboxAddress } from '../address/index.ts';
import {
  type BrowserHeaders,
  BrowserRedirect,
  cookiePrefixOf,
  cookiesUpstream,
  credentialIn,
  isTopNavigation,
  ownHostOf,
  portSuffix,
  refusedAcrossOrigins,
} from '../browser/index.ts';
import type { ScannedHeaders } from '../forward/index.ts';
import { isPath, type Links } from '../identity/index.ts';
import { ProblemError } from '../problem.ts';

/** What holds for browsers, by configuration. */
export interface BrowserOptions {
  baseDomain: string | undefined;
  /** Sandboxes of one host trust one another: nothing is isolated in path form. */
  trustContent: boolean;
  /** Origins whose pages may use what the browser adds by itself. */
  allowedOrigins: readonly string[];
  links: Links | undefined;
}

/** The rules for requests of browsers; nothing here is asked for other clients. */
export interface BrowserGate {
  /** Before anybody is asked who calls. @throws ProblemError forbidden, BrowserRedirect to the sandbox's own origin */
  enter(request: BrowserRequest, namespace: string | undefined, nowMs: number): void;
  /** Where a right comes by itself. @throws ProblemError forbidden for pages of other origins */
  refuseOthers(request: BrowserRequest): void;
  /** Puts back what of the cookies is the sandbox's. */
  settleCookies(scanned: ScannedHeaders, address: SandboxAddress, namespace: string): void;
  /** Whether the answer shares its host with those of sandboxes that must not see it. */
  isolates(browser: BrowserHeaders, address: SandboxAddress): boolean;
}

/** A request of a browser. */
export interface BrowserRequest {
  method: string | undefined;
  upgrade: boolean;
  scanned: ScannedHeaders;
  browser: BrowserHeaders;
  address: SandboxAddress;
}

/** How long a browser may take to follow a redirect that carries its right over. */
const CARRY_SECONDS = 60;

/** Rules of design section 7 for browsers. */
export function createBrowserGate({ baseDomain, trustContent, allowedOrigins, links }: BrowserOptions): BrowserGate {
  const sharesHost = ({ form }: SandboxAddress) => form === 'path' || form === 'prefix';

  /** Where a top navigation goes on: the sandbox's own origin, with a link where the browser had a session here. */
  function ownUrl({ scanned, browser, address }: BrowserRequest, namespace: string | undefined, nowMs: number) {
    if (baseDomain === undefined) return undefined;
    const { host } = scanned;
    const session = browser.cookie === undefined ? undefined : credentialIn('session', browser.cookie, host);
    const claims = session === undefined ? undefined : links?.readSession(session, nowMs);
    const isFor = claims?.sandbox === address.sandbox && (address.namespace ?? claims.namespace) === claims.namespace;
    const inNamespace = namespace ?? (isFor ? claims.namespace : undefined);
    const own = ownHostOf({ sandbox: address.sandbox, namespace: inNamespace, port: address.port }, baseDomain);
    if (own === undefined) return undefined;
    const origin = `//${own}${portSuffix(host ?? '')}`;
    if (!isFor || links === undefined) return `${origin}${address.rest}`;
    const openBySeconds = Math.floor(nowMs / 1000) + CARRY_SECONDS;
    const open = isPath(address.rest) ? address.rest : undefined;
    const port = address.port ?? claims.port;
    return `${origin}/-/link/${links.mint({ ...claims, open, port, openBySeconds, oneUse: true })}`;
  }

  return {
    enter: (request, namespace, nowMs) => {
      const { browser, address, method } = request;
      if (!sharesHost(address) || trustContent) return;
      if (browser.serviceWorker)
        throw new ProblemError({
          code: 'forbidden',
          detail: 'Service workers would control every sandbox of this host: they need the host form.',
        });
      if (request.upgrade || !isTopNavigation(browser, method)) return;
      const url = ownUrl(request, namespace, nowMs);
      if (url !== undefined) throw new BrowserRedirect(url);
    },
    refuseOthers: ({ browser, method, scanned, upgrade }) => {
      const detail = refusedAcrossOrigins(browser, { method, host: scanned.host, upgrade }, allowedOrigins);
      if (detail !== undefined) throw new ProblemError({ code: 'forbidden', detail });
    },
    settleCookies: (scanned, address, namespace) => {
      const { browser, upstream } = scanned;
      if (browser === undefined) return;
      const renamed = sharesHost(address) && !trustContent && browser.renders;
      const prefix = renamed ? cookiePrefixOf(namespace, address.sandbox) : undefined;
      // Cookies of this host that no sandbox has set are none of theirs.
      if (renamed)
        for (let index = upstream.length - 2; index >= 0; index -= 2)
          if (upstream[index]?.toLowerCase() === 'cookie') upstream.splice(index, 2);
      const left = browser.cookie === undefined ? undefined : cookiesUpstream(browser.cookie, prefix);
      if (left !== undefined) upstream.push('cookie', left);
    },
    isolates: (browser, address) => browser.renders && sharesHost(address) && !trustContent,
  };
}
