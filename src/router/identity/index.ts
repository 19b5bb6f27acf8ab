export { createApiKeyAuthenticator, createUpTokenAuthenticator } from './api-key.ts';
export { createApiKey, formatApiKeys, parseApiKeys, type StoredApiKey } from './api-key-file.ts';
export { bearerToken, createIdentity, type Identity } from './authenticate.ts';
export { certificateCredential, createCertificateAuthenticator } from './certificate.ts';
export {
  type Authenticator,
  mayReach,
  maySee,
  type Principal,
  type SandboxName,
  SCOPES,
  type Scope,
} from './identity.ts';
export { createRemoteKeys, parsePublicKeys } from './jwks.ts';
export { createJwtAuthenticator, type JwtIssuer } from './jwt.ts';
export {
  createLinkAuthenticator,
  createLinks,
  isBelow,
  isPath,
  type LinkClaims,
  type LinkKey,
  type Links,
  linkKey,
  type Narrowing,
  type NewLink,
  narrowed,
  narrowLink,
  refusedByLink,
  sessionCredential,
} from './link/index.ts';
export { createOwnConnections, type OwnConnections } from './own-connections.ts';
export { ANONYMOUS } from './principal.ts';
export { mintScopedToken, type ScopedTokenKey, scopedTokenKey } from './scoped-token.ts';
export { createScopedTokenAuthenticator } from './scoped-token-authenticator.ts';
export { createTokenReviewAuthenticator } from './token-review.ts';
