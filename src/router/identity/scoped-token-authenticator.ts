import type { Tenants } from '../policy/index.ts';
import type { Authenticator } from './identity.ts';
import { type ScopedTokenKey, verifyScopedToken } from './scoped-token.ts';

/** Accepts scoped tokens: they reach and wake one sandbox, for the tenant whose namespace it is in. */
export function createScopedTokenAuthenticator(
  keys: () => readonly ScopedTokenKey[],
  tenants: Pick<Tenants, 'ownerOf'>,
): Authenticator {
  return {
    name: 'scoped-token',
    authenticate: (credential, nowMs) => {
      const claims = verifyScopedToken(keys(), credential, nowMs);
      if (typeof claims === 'string') return undefined;
      const { namespace, name, expiresAtSeconds } = claims;
      const tenant = tenants.ownerOf(namespace);
      if (tenant === undefined) return undefined;
      return {
        tenant: tenant.name,
        namespaces: new Set([namespace]),
        scopes: new Set(['route', 'wake'] as const),
        credentialId: `scoped:${namespace}/${name}`,
        expiresAtMs: expiresAtSeconds * 1000,
        sandbox: { namespace, name },
      };
    },
  };
}
