import { decodeJwt, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { JwtIssuerSettings } from '../../config/index.ts';
import { type Authenticator, type Credential, SCOPES } from './identity.ts';

/** An issuer, and where its keys are. */
export interface JwtIssuer extends JwtIssuerSettings {
  keys: JWTVerifyGetKey;
}

const SKEW_SECONDS = 60;

/** Accepts JWTs of the issuers. `failed` is told when the keys of one can't be had; nobody gets in by it then. */
export function createJwtAuthenticator(
  issuers: readonly JwtIssuer[],
  failed: (issuer: string, error: unknown) => void,
): Authenticator {
  const byName = new Map(issuers.map((issuer) => [issuer.issuer, issuer]));
  return {
    name: 'jwt',
    authenticate: async (credential, nowMs) => {
      const issuer = byName.get(issuerOf(credential) ?? '');
      if (issuer === undefined) return undefined;
      try {
        const { payload } = await jwtVerify(credential, issuer.keys, {
          issuer: issuer.issuer,
          audience: [...issuer.audiences],
          algorithms: [...issuer.algorithms],
          clockTolerance: SKEW_SECONDS,
          currentDate: new Date(nowMs),
          requiredClaims: ['exp'],
        });
        return credentialOf(payload, issuer);
      } catch (error) {
        if (!(error instanceof errors.JOSEError)) failed(issuer.issuer, error);
        return undefined;
      }
    },
  };
}

/** What the token says of itself: only which keys to check it with. */
function issuerOf(credential: string): string | undefined {
  // Three parts: encrypted tokens have five, and nothing here could open them.
  if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(credential)) return undefined;
  try {
    const { iss } = decodeJwt(credential);
    return typeof iss === 'string' ? iss : undefined;
  } catch {
    return undefined;
  }
}

function credentialOf(payload: JWTPayload, issuer: JwtIssuer): Credential | undefined {
  const said = payload[issuer.tenantClaim];
  if (typeof said !== 'string') return undefined;
  const tenant = issuer.tenants === undefined ? said : issuer.tenants.get(said);
  if (tenant === undefined || !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(tenant)) return undefined;
  const given = issuer.scopeClaim === undefined ? undefined : wordsOf(payload[issuer.scopeClaim]);
  const scopes = SCOPES.filter((scope) => issuer.scopes.includes(scope) && (given?.includes(scope) ?? true));
  return {
    tenant,
    namespaces: undefined,
    scopes: new Set(scopes),
    credentialId: `jwt:${(payload.sub ?? said).slice(0, 100)}`,
    expiresAtMs: ((payload.exp ?? 0) + SKEW_SECONDS) * 1000,
  };
}

function wordsOf(claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ');
  return Array.isArray(claim) ? claim.filter((word) => typeof word === 'string') : [];
}
