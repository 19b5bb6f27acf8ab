/** What only browsers send, or what we gave one. Made for the first such header of a request: other clients have none. */
export interface BrowserHeaders {
  /** Whether the answer may be shown as a page or run as a script: browsers say so by Fetch Metadata, or where that is not sent by asking for https. */
  renders: boolean;
  /** `Sec-Fetch-Site`. */
  site: string | undefined;
  /** `Sec-Fetch-Mode`. */
  mode: string | undefined;
  /** `Sec-Fetch-Dest`. */
  dest: string | undefined;
  origin: string | undefined;
  /** A service worker's script is asked for. */
  serviceWorker: boolean;
  /** A `Cookie` header that has cookies of ours; several are joined. */
  cookie: string | undefined;
}

/** Nothing known yet. */
export function noBrowserHeaders(): BrowserHeaders {
  return {
    renders: false,
    site: undefined,
    mode: undefined,
    dest: undefined,
    origin: undefined,
    serviceWorker: false,
    cookie: undefined,
  };
}

/** Whether the request is for a page that will fill a window or tab: the only kind that may be sent to another origin. */
export function isTopNavigation(browser: BrowserHeaders, method: string | undefined): boolean {
  return method === 'GET' && browser.mode === 'navigate' && browser.dest === 'document';
}
