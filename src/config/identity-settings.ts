import { text, textList } from './parsers.ts';
import type { Setting } from './settings.ts';
import { aLabel, aSwitch, aText, choiceOf, entriesOf, listOf, type Reader, readMapping } from './structured.ts';
import { isLoopback } from './values.ts';

/** Signature algorithms that an issuer may use: public keys only, so that none of them can be used to forge. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;
type ConfiguredScope = 'route' | 'wake' | 'manage';

/** An issuer of JWTs that are believed. */
export interface JwtIssuerSettings {
  /** As in the claim `iss`. */
  issuer: string;
  /** One of them must be in the claim `aud`. */
  audiences: readonly string[];
  algorithms: readonly string[];
  /** File of public keys; without it they are found by OIDC discovery. */
  jwksFile?: string;
  /** Claim that names the tenant. */
  tenantClaim: string;
  /** Tenants by values of that claim; without it the value is the tenant. */
  tenants?: ReadonlyMap<string, string>;
  /** Claim with scopes, as a list or a text with spaces; what it does not name is not given. */
  scopeClaim?: string;
  /** The most that a token may be used for. */
  scopes: readonly ConfiguredScope[];
}

/** How Kubernetes tokens are reviewed. */
export interface TokenReviewSettings {
  /** Audiences of which a token must have one; those of the API server without it. */
  audiences: readonly string[];
  scopes: readonly ConfiguredScope[];
  /** Asks the cluster for each sandbox whether the caller may `get` its `sandboxes/proxy`, in place of owning its namespace. */
  subjectAccessReview: boolean;
}

const scopes = listOf(choiceOf('route', 'wake', 'manage'));
const aUrl: Reader<string> = (raw, where) => {
  const value = aText(raw, where);
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const plain = url?.protocol === 'http:' && isLoopback(url.hostname);
  if (url?.protocol !== 'https:' && !plain) throw new Error(`${where} must be an https URL`);
  return value;
};

/** Settings of who may get in, beside API keys. */
export const identitySettings = {
  scopedTokenKeys: {
    key: 'scopedTokenKeys',
    description:
      'files with secrets of scoped tokens (comma separated): <file> for v1 tokens, <id>=<file> for v2; hot reloaded',
    placeholder: 'files',
    default: [],
    commands: ['up', 'serve'],
    parse: textList,
  } as Setting<readonly string[]>,
  tokenReviewAudience: {
    key: 'tokenReviewAudience',
    description: 'accept Kubernetes tokens of this audience; the configuration file can say more (tokenReview)',
    placeholder: 'audience',
    default: undefined,
    commands: ['serve'],
    parse: text,
  } as Setting<string | undefined>,
  tokenReview: {
    key: 'tokenReview',
    description: 'how Kubernetes tokens are reviewed',
    default: undefined,
    commands: ['serve'],
    fileOnly: true,
    parse: (raw) => ({
      audiences: [],
      scopes: ['route', 'wake'],
      subjectAccessReview: false,
      ...readMapping(raw, 'tokenReview', { audiences: listOf(aText), scopes, subjectAccessReview: aSwitch }),
    }),
  } as Setting<TokenReviewSettings | undefined>,
  jwt: {
    key: 'jwt',
    description: 'issuers of JWTs',
    default: [],
    commands: ['up', 'serve'],
    fileOnly: true,
    parse: (raw) => listOf(anIssuer)(raw, 'jwt'),
  } as Setting<readonly JwtIssuerSettings[]>,
};

function anIssuer(raw: unknown, where: string): JwtIssuerSettings {
  const { issuer, audiences, ...rest } = readMapping(raw, where, {
    issuer: aUrl,
    audiences: listOf(aText),
    algorithms: listOf(choiceOf(...ALGORITHMS)),
    jwksFile: aText,
    tenantClaim: aText,
    tenants: (value, at) =>
      new Map(entriesOf(value, at).map(([name, tenant]) => [name, aLabel(tenant, `${at}.${name}`)])),
    scopeClaim: aText,
    scopes,
  });
  if (issuer === undefined) throw new Error(`${where}.issuer is missing`);
  if (audiences === undefined || audiences.length === 0) throw new Error(`${where}.audiences must name at least one`);
  return {
    issuer,
    audiences,
    algorithms: ['RS256', 'ES256', 'EdDSA'],
    tenantClaim: 'tenant',
    scopes: ['route', 'wake'],
    ...rest,
  };
}
