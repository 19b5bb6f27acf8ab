export { createApiKeyAuthenticator, parseApiKeys, type StoredApiKey, upTokenKey } from './api-key.ts';
export { bearerToken, createIdentity, type Identity } from './authenticate.ts';
export { type Authenticator, mayReach, type Principal, type Scope } from './identity.ts';
