export { type BrowserHeaders, isTopNavigation, noBrowserHeaders } from './browser-headers.ts';
export {
  COOKIE_MARK,
  cookiePrefixOf,
  cookiesUpstream,
  credentialCookie,
  credentialIn,
  isOurCookie,
} from './cookies.ts';
export { refusedAcrossOrigins } from './cross-site.ts';
export { guardOwnOrigin, isolateAnswer } from './isolation.ts';
export { ownHostOf, portSuffix } from './own-origin.ts';
export { BrowserRedirect, REDIRECT_HEADERS } from './redirect.ts';
