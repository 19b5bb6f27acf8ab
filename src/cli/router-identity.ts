import { readFileSync, watchFile } from 'node:fs';
import { ConfigError, type JwtIssuerSettings, type Settings, type TokenReviewSettings } from '../config/index.ts';
import type { ResourceClient } from '../kubernetes/index.ts';
import {
  type Authenticator,
  createApiKeyAuthenticator,
  createIdentity,
  createJwtAuthenticator,
  createRemoteKeys,
  createScopedTokenAuthenticator,
  createTokenReviewAuthenticator,
  createUpTokenAuthenticator,
  type Identity,
  type JwtIssuer,
  parseApiKeys,
  parsePublicKeys,
  type ScopedTokenKey,
  scopedTokenKey,
} from '../router/index.ts';
import { report } from './report.ts';
import type { ConfiguredPolicy } from './router-policy.ts';

/** How often key files are looked at. */
const WATCH_INTERVAL_MS = 1000;

/** Who may get in, by the settings; undefined lets anybody in. @throws ConfigError where nobody could */
export function configuredIdentity(
  settings: Settings,
  { policy, onReloaded }: ConfiguredPolicy,
  upTokenFile: string | undefined,
  client: ResourceClient,
): Identity | undefined {
  if (settings.insecureNoAuth) return undefined;
  const authenticators: Authenticator[] = [];
  const changed = () => identity.forget();
  if (upTokenFile !== undefined) authenticators.push(createUpTokenAuthenticator(upTokenFile));
  if (settings.apiKeysFile !== undefined)
    authenticators.push(
      createApiKeyAuthenticator(followFile(settings.apiKeysFile, (bytes) => parseApiKeys(String(bytes)), changed)),
    );
  const { scopedTokenKeys, jwt } = settings;
  if (scopedTokenKeys.length > 0) {
    const keys = scopedTokenKeys.map((entry) => followScopedTokenKey(entry, changed));
    authenticators.push(createScopedTokenAuthenticator(() => keys.map((key) => key()), policy.tenants));
  }
  if (jwt.length > 0)
    authenticators.push(
      createJwtAuthenticator(
        jwt.map((issuer) => ({ ...issuer, keys: keysOf(issuer, changed) })),
        (issuer, error) => report(`the keys of ${issuer} can not be had`, error),
      ),
    );
  const reviews = tokenReviewOf(settings);
  if (reviews !== undefined) authenticators.push(createTokenReviewAuthenticator(client, reviews));
  if (authenticators.length === 0)
    throw new ConfigError(
      'Nobody could get in: give --api-keys-file, another way to authenticate, or --insecure-no-auth with a loopback address.',
    );
  const identity = createIdentity(authenticators, policy.tenants);
  onReloaded(changed);
  return identity;
}

function tokenReviewOf({ tokenReview, tokenReviewAudience }: Settings): TokenReviewSettings | undefined {
  if (tokenReviewAudience === undefined) return tokenReview;
  const base = tokenReview ?? { scopes: ['route', 'wake'] as const, subjectAccessReview: false };
  return { ...base, audiences: [tokenReviewAudience] };
}

function keysOf({ issuer, jwksFile }: JwtIssuerSettings, changed: () => void): JwtIssuer['keys'] {
  if (jwksFile === undefined) return createRemoteKeys(issuer);
  const keys = followFile(jwksFile, (bytes) => parsePublicKeys(String(bytes)), changed);
  return (header, token) => keys()(header, token);
}

/** `<file>`, or `<id>=<file>` for the second version of tokens, of which several can be active. */
function followScopedTokenKey(entry: string, changed: () => void): () => ScopedTokenKey {
  const [, id, path = ''] = /^(?:([A-Za-z0-9_-]{1,64})=)?(.+)$/.exec(entry) ?? [];
  return followFile(path, (bytes) => scopedTokenKey(bytes, id), changed);
}

/** What a file says, read again when it changes; what can't be read leaves the earlier in force. @throws ConfigError at first */
function followFile<Value>(path: string, parse: (bytes: Buffer) => Value, changed: () => void): () => Value {
  const read = () => {
    try {
      return parse(readFileSync(path));
    } catch (error) {
      throw new ConfigError(`${path}: ${(error as Error).message}`);
    }
  };
  let value = read();
  watchFile(path, { interval: WATCH_INTERVAL_MS, persistent: false }, () => {
    try {
      value = read();
      changed();
    } catch (error) {
      report('a changed file is refused, what it said before stays', error);
    }
  });
  return () => value;
}
