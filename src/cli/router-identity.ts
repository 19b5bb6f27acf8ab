import { readFileSync } from 'node:fs';
import { ConfigError, type JwtIssuerSettings, type Settings, type TokenReviewSettings } from '../config/index.ts';
import type { ResourceClient } from '../kubernetes/index.ts';
import {
  type Authenticator,
  type BrowserSettings,
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
  type Identity,
  type JwtIssuer,
  type LinkKey,
  linkKey,
  type OwnConnections,
  parseApiKeys,
  parsePublicKeys,
  type ScopedTokenKey,
  scopedTokenKey,
} from '../router/index.ts';
import { followFile } from './follow-file.ts';
import { report } from './report.ts';
import type { ConfiguredPolicy } from './router-policy.ts';

/** What `up` has made for itself. */
export interface UpFiles {
  /** The token that reaches everything. */
  token: string;
  /** A key for links. */
  linkKey: string;
}

/** Who gets in, and by what browsers do. */
export interface ConfiguredIdentity {
  /** Undefined lets anybody in. */
  identity: Identity | undefined;
  /** Those of `up`, for who forwards a port of the engine's API: holders of its token. */
  ownConnections: OwnConnections | undefined;
  browsers: BrowserSettings;
}

/** Who may get in, by the settings. @throws ConfigError where nobody could */
export function configuredIdentity(
  settings: Settings,
  { policy, onReloaded }: ConfiguredPolicy,
  upFiles: UpFiles | undefined,
  client: ResourceClient,
): ConfiguredIdentity {
  const { tokenQuery, allowedOrigins, trustContent } = settings;
  const browsers = { tokenQuery, allowedOrigins, trustContent };
  const ownConnections =
    upFiles === undefined ? undefined : createOwnConnections(readFileSync(upFiles.token, 'utf8').trim());
  if (settings.insecureNoAuth) {
    const none = { links: undefined, scopedTokenKeys: () => [], certificates: false };
    return { identity: undefined, ownConnections, browsers: { ...browsers, ...none } };
  }
  const authenticators: Authenticator[] = [];
  const changed = () => identity.forget();
  if (upFiles !== undefined) authenticators.push(createUpTokenAuthenticator(upFiles.token));
  if (settings.apiKeysFile !== undefined)
    authenticators.push(
      createApiKeyAuthenticator(followFile(settings.apiKeysFile, (bytes) => parseApiKeys(String(bytes)), changed)),
    );
  const { jwt, mtls } = settings;
  const tokenKeys = settings.scopedTokenKeys.map((entry) => followScopedTokenKey(entry, changed));
  const scopedTokenKeys = () => tokenKeys.map((key) => key());
  if (tokenKeys.length > 0) authenticators.push(createScopedTokenAuthenticator(scopedTokenKeys, policy.tenants));
  if (jwt.length > 0)
    authenticators.push(
      createJwtAuthenticator(
        jwt.map((issuer) => ({ ...issuer, keys: keysOf(issuer, changed) })),
        (issuer, error) => report(`the keys of ${issuer} can not be had`, error),
      ),
    );
  const reviews = tokenReviewOf(settings);
  if (reviews !== undefined) authenticators.push(createTokenReviewAuthenticator(client, reviews));
  if (mtls.length > 0) {
    if (settings.tlsClientCa === undefined)
      throw new ConfigError('mtls needs --tls-client-ca: without it no client certificate can be believed.');
    authenticators.push(createCertificateAuthenticator(mtls));
  }
  if (authenticators.length === 0)
    throw new ConfigError(
      'Nobody could get in: give --api-keys-file, another way to authenticate, or --insecure-no-auth with a loopback address.',
    );
  const linkKeys = linkKeyEntries(settings, upFiles).map((entry) => followLinkKey(entry, changed));
  const links = linkKeys.length === 0 ? undefined : createLinks(() => linkKeys.map((key) => key()));
  if (links !== undefined) authenticators.push(createLinkAuthenticator(links, policy.tenants));
  const identity = createIdentity(authenticators, policy.tenants);
  onReloaded(changed);
  return { identity, ownConnections, browsers: { ...browsers, links, scopedTokenKeys, certificates: mtls.length > 0 } };
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

function linkKeyEntries({ linkKeys }: Settings, upFiles: UpFiles | undefined): readonly string[] {
  return linkKeys.length > 0 || upFiles === undefined ? linkKeys : [`up=${upFiles.linkKey}`];
}

/** `<id>=<file>`. */
function followLinkKey(entry: string, changed: () => void): () => LinkKey {
  const at = entry.indexOf('=');
  return followFile(entry.slice(at + 1), (bytes) => linkKey(bytes, entry.slice(0, at)), changed);
}
