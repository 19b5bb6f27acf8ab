import { type BrowserHeaders, isTopNavigation } from './browser-headers.ts';

/** A request whose right to be here the browser added by itself: by cookie, by certificate, or where nobody is asked for one. */
export interface AmbientRequest {
  method: string | undefined;
  /** As the client sent it, with port. */
  host: string | undefined;
  upgrade: boolean;
}

/**
 * Why a page of another origin may not make this request, or undefined. Sandboxes below one domain are one site, so that `SameSite` cookies go along between
 * them: only the same origin is let in, the user's own doing, links that are followed in a window, and origins that are listed.
 */
export function refusedAcrossOrigins(
  browser: BrowserHeaders,
  request: AmbientRequest,
  allowedOrigins: readonly string[],
): string | undefined {
  const { origin, site } = browser;
  // What a browser says of its own page no page can change, and a proxy in front that changes Host does not confuse it.
  if (site === 'same-origin') return undefined;
  if (origin !== undefined && allowedOrigins.includes(origin)) return undefined;
  if (origin !== undefined && !isOriginOf(origin, request.host))
    return `Requests of pages from ${printable(origin)} are refused: their Origin is another one.`;
  if (site === undefined || site === 'none') return undefined;
  if (!request.upgrade && isTopNavigation(browser, request.method)) return undefined;
  return `Sec-Fetch-Site says ${printable(site)}: requests of pages from elsewhere are refused, save links that are followed.`;
}

function isOriginOf(origin: string, host: string | undefined): boolean {
  if (host === undefined) return false;
  const match = /^https?:\/\/([^/?#@]+)$/i.exec(origin);
  return match?.[1]?.toLowerCase() === host.toLowerCase();
}

function printable(text: string): string {
  return text.replace(/[^\x21-\x7e]/g, '?').slice(0, 100);
}
