export {
  createApiKeyAuthenticator,
  createIdentity,
  type Identity,
  parseApiKeys,
  type StoredApiKey,
  upTokenKey,
} from './identity/index.ts';
export { type IdleOptions, type Router, type RouterOptions, startRouter } from './router.ts';
