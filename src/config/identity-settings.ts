import { boolean, oneOf, text, textList } from './parsers.ts';
import type { Setting } from './setting.ts';
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

/** Whose a client certificate is. One of `spiffeId` and `dns` is there. */
export interface CertificateRule {
  /** A SPIFFE ID; `*` stands for one part, `{tenant}` for the part that is the tenant. */
  spiffeId?: string;
  /** A DNS name of the certificate, with the same placeholders. */
  dns?: string;
  /** In place of `{tenant}`. */
  tenant?: string;
  scopes: readonly ConfiguredScope[];
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
  linkKeys: {
    key: 'linkKeys',
    description:
      'keys of browser links, <id>=<file> (comma separated): the first signs, all are believed; the same in all routers; hot reloaded',
    placeholder: 'id=file',
    default: [],
    commands: ['up', 'serve'],
    parse: (raw) => {
      const entries = textList(raw);
      if (!entries.every((entry) => /^[A-Za-z0-9_-]{1,64}=./.test(entry)))
        throw new Error('must be a list of <id>=<file>, ids of A-Z a-z 0-9 _ -');
      return entries;
    },
  } as Setting<readonly string[]>,
  tokenQuery: {
    key: 'tokenQuery',
    description:
      'query parameter in which a browser may bring a token for one sandbox: it becomes a cookie, and the URL loses it',
    placeholder: 'name',
    default: undefined,
    commands: ['up', 'serve'],
    parse: (raw) => {
      const name = text(raw);
      if (!/^[A-Za-z0-9_-]+$/.test(name)) throw new Error('must be a name of A-Z a-z 0-9 _ -');
      return name;
    },
  } as Setting<string | undefined>,
  allowedOrigins: {
    key: 'allowedOrigins',
    description: 'origins whose pages may call sandboxes with the cookie of a link (comma separated)',
    placeholder: 'origins',
    default: [],
    commands: ['up', 'serve'],
    parse: (raw) => {
      const origins = textList(raw);
      if (!origins.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin))
        throw new Error('must be a list of origins such as https://portal.example.com');
      return origins;
    },
  } as Setting<readonly string[]>,
  trustContent: {
    key: 'trustContent',
    description:
      'do not isolate pages of sandboxes that share a host in path form: only where all of them trust one another',
    default: false,
    commands: ['up', 'serve'],
    parse: boolean,
  } as Setting<boolean>,
  tlsCert: {
    key: 'tlsCert',
    description: 'certificate chain of the proxy (PEM), with tlsKey: it listens with TLS then; hot reloaded',
    placeholder: 'path',
    default: undefined,
    commands: ['up', 'serve'],
    parse: text,
  } as Setting<string | undefined>,
  tlsKey: {
    key: 'tlsKey',
    description: 'private key of that certificate (PEM); hot reloaded',
    placeholder: 'path',
    default: undefined,
    commands: ['up', 'serve'],
    parse: text,
  } as Setting<string | undefined>,
  tlsClientCa: {
    key: 'tlsClientCa',
    description:
      'authorities of client certificates (PEM); whose they are says mtls in the configuration file; hot reloaded',
    placeholder: 'path',
    default: undefined,
    commands: ['up', 'serve'],
    parse: text,
  } as Setting<string | undefined>,
  tlsClientAuth: {
    key: 'tlsClientAuth',
    description: 'optional, or required: without a client certificate there is no connection',
    placeholder: 'mode',
    default: 'optional',
    commands: ['up', 'serve'],
    parse: oneOf('optional', 'required'),
  } as Setting<'optional' | 'required'>,
  mtls: {
    key: 'mtls',
    description: 'whose client certificates are',
    default: [],
    commands: ['up', 'serve'],
    fileOnly: true,
    parse: (raw) => listOf(aCertificateRule)(raw, 'mtls'),
  } as Setting<readonly CertificateRule[]>,
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

function aCertificateRule(raw: unknown, where: string): CertificateRule {
  const rule = readMapping(raw, where, { spiffeId: aSpiffeId, dns: aText, tenant: aLabel, scopes });
  if ((rule.spiffeId === undefined) === (rule.dns === undefined))
    throw new Error(`${where} must have one of spiffeId and dns`);
  const name = rule.spiffeId ?? rule.dns ?? '';
  const parts = name.split(rule.spiffeId === undefined ? '.' : '/');
  const places = parts.filter((part) => part === '{tenant}').length;
  if (parts.some((part) => part !== '*' && part !== '{tenant}' && /[*{}]/.test(part)))
    throw new Error(`${where}: * and {tenant} stand for whole parts of a name`);
  if (places !== (rule.tenant === undefined ? 1 : 0))
    throw new Error(`${where} must have either tenant, or {tenant} once in the name`);
  return { scopes: ['route', 'wake'], ...rule };
}

const aSpiffeId: Reader<string> = (raw, where) => {
  const value = aText(raw, where);
  // The trust domain is whose authority it is: no placeholder may stand for it (SPIFFE ID section 2.1).
  if (!/^spiffe:\/\/[a-z0-9._-]+\/[^/]/.test(value))
    throw new Error(`${where} must be a SPIFFE ID such as spiffe://example.org/ns/{tenant}/sa/agent`);
  return value;
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
