import { isBelow, type LinkClaims } from './link-claims.ts';

/** What a link is asked for. */
export interface LinkUse {
  method: string;
  upgrade: boolean;
  /** Path and query for the sandbox, byte for byte. */
  target: string;
  port: number;
}

/** Why a link does not allow a request, or undefined. Its one use and its end are not looked at. */
export function refusedByLink(claims: LinkClaims, { method, upgrade, target, port }: LinkUse): string | undefined {
  if (claims.port !== undefined && claims.port !== port) return `This link is for port ${claims.port} alone.`;
  if (claims.pathPrefix !== undefined && !isBelow(target, claims.pathPrefix))
    return `This link is for paths below ${claims.pathPrefix} alone.`;
  const wanted = upgrade ? 'UPGRADE' : method;
  const asGet = wanted === 'HEAD' ? 'GET' : wanted;
  if (claims.methods !== undefined && !claims.methods.includes(wanted) && !claims.methods.includes(asGet))
    return `This link is for ${claims.methods.join(', ')} alone.`;
  return undefined;
}
