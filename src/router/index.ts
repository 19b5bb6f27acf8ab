export type { SandboxTls } from './forward/index.ts';
export type { TlsMaterial, TlsOptions } from './front-listener.ts';
export {
  type Authenticator,
  createApiKey,
  createApiKeyAuthenticator,
  createCertificateAuthenticator,
  createIdentity,
  createJwtAuthenticator,
  createLinkAuthenticator,
  createLinks,
  createOwnConnections,
  createRemoteKeys,
  createScopedTokenAuthenticator,
  createTokenReviewAuthenticator,
  createUpTokenAuthenticator,
  formatApiKeys,
  type Identity,
  isBelow,
  isPath,
  type JwtIssuer,
  type LinkKey,
  type Links,
  linkKey,
  mintScopedToken,
  type Narrowing,
  narrowLink,
  type OwnConnections,
  parseApiKeys,
  parsePublicKeys,
  SCOPES,
  type Scope,
  type ScopedTokenKey,
  type StoredApiKey,
  scopedTokenKey,
} from './identity/index.ts';
export {
  createLedger,
  describeCause,
  describeMs,
  type LedgerEntry,
  type LedgerFact,
  plain,
  readLedger,
} from './ledger/index.ts';
export type { BrowserSettings, IdleOptions, RouterOptions } from './options.ts';
export { createPolicy, type Policy, type PolicySettings } from './policy/index.ts';
export { type Router, startRouter } from './router.ts';
export { runWorker, startRouterWithWorkers } from './workers/index.ts';
