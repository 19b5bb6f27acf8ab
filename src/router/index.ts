export {
  type Authenticator,
  createApiKey,
  createApiKeyAuthenticator,
  createIdentity,
  createJwtAuthenticator,
  createRemoteKeys,
  createScopedTokenAuthenticator,
  createTokenReviewAuthenticator,
  createUpTokenAuthenticator,
  formatApiKeys,
  type Identity,
  type JwtIssuer,
  parseApiKeys,
  parsePublicKeys,
  SCOPES,
  type Scope,
  type ScopedTokenKey,
  type StoredApiKey,
  scopedTokenKey,
} from './identity/index.ts';
export type { IdleOptions, RouterOptions } from './options.ts';
export { createPolicy, type Policy, type PolicySettings } from './policy/index.ts';
export { type Router, startRouter } from './router.ts';
export { runWorker, startRouterWithWorkers } from './workers/index.ts';
