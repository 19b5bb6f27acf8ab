export {
  createApiKey,
  createApiKeyAuthenticator,
  createIdentity,
  formatApiKeys,
  type Identity,
  parseApiKeys,
  SCOPES,
  type Scope,
  type StoredApiKey,
  upTokenKey,
} from './identity/index.ts';
export { type IdleOptions, type Router, type RouterOptions, startRouter } from './router.ts';
