export { createApiKeyAuthenticator, upTokenKey } from './api-key.ts';
export { createApiKey, formatApiKeys, parseApiKeys, type StoredApiKey } from './api-key-file.ts';
export { bearerToken, createIdentity, type Identity } from './authenticate.ts';
export { type Authenticator, mayReach, type Principal, SCOPES, type Scope } from './identity.ts';
