export { createApiKeyAuthenticator, createUpTokenAuthenticator } from './api-key.ts';
export { createApiKey, formatApiKeys, parseApiKeys, type StoredApiKey } from './api-key-file.ts';
export { bearerToken, createIdentity, type Identity } from './authenticate.ts';
export { type Authenticator, mayReach, maySee, type Principal, SCOPES, type Scope } from './identity.ts';
export { ANONYMOUS } from './principal.ts';
