import { implicitTenant, type Tenants } from '../policy/index.ts';
import type { Credential, Principal } from './identity.ts';

/** Never the end of anything: the last moment that a Date knows. */
export const NEVER_MS = 8.64e15;

/** Who everybody is where no credentials are asked for. */
export const ANONYMOUS: Principal = {
  tenant: implicitTenant('default'),
  defaultNamespace: 'default',
  namespaces: '*',
  scopes: new Set(['route', 'wake', 'manage'] as const),
  credentialId: 'anonymous',
  expiresAtMs: NEVER_MS,
  sandbox: undefined,
  mayProxy: undefined,
  link: undefined,
  endsAtMs: NEVER_MS,
};

/** The principal of a credential; undefined where its tenant is not one of those that are configured. A credential narrows its tenant, and never widens one that is configured. */
export function principalOf(credential: Credential, tenants: Tenants): Principal | undefined {
  const tenant = credential.operator ? implicitTenant(credential.tenant) : tenants.find(credential.tenant);
  if (tenant === undefined) return undefined;
  const bounded = tenants.isConfigured() && credential.operator !== true;
  const namespaces = bounded
    ? common(tenant.namespaces, credential.namespaces ?? '*')
    : (credential.namespaces ?? tenant.namespaces);
  return {
    tenant,
    defaultNamespace: credential.sandbox?.namespace ?? tenant.defaultNamespace,
    namespaces,
    scopes: credential.scopes,
    credentialId: credential.credentialId,
    expiresAtMs: credential.expiresAtMs,
    sandbox: credential.sandbox,
    mayProxy: credential.mayProxy,
    link: credential.link,
    endsAtMs: credential.endsAtMs ?? credential.expiresAtMs,
  };
}

function common(left: ReadonlySet<string> | '*', right: ReadonlySet<string> | '*'): ReadonlySet<string> | '*' {
  if (left === '*') return right;
  return right === '*' ? left : new Set([...left].filter((name) => right.has(name)));
}
