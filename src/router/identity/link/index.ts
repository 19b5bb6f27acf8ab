export { isBelow, isPath, type LinkClaims, type Narrowing, narrowed } from './link-claims.ts';
export { type LinkKey, linkKey, narrowLink } from './link-token.ts';
export { createLinkAuthenticator, createLinks, type Links, type NewLink, sessionCredential } from './links.ts';
export { type LinkUse, refusedByLink } from './refusal.ts';
