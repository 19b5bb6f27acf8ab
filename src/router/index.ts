export {
  type Authenticator,
  createApiKey,
  createApiKeyAuthenticator,
  createIdentity,
  createUpTokenAuthenticator,
  formatApiKeys,
  type Identity,
  parseApiKeys,
  SCOPES,
  type Scope,
  type StoredApiKey,
} from './identity/index.ts';
export { createPolicy, type Policy, type PolicySettings } from './policy/index.ts';
export { type IdleOptions, type Router, type RouterOptions, startRouter } from './router.ts';
