import { BlockList, isIPv6 } from 'node:net';
import type { ScannedHeaders } from './request-headers.ts';

/** Decides whose forwarding headers are believed. */
export interface TrustedProxies {
  trusts(address: string): boolean;
}

/** Trust for addresses and CIDRs. @throws Error that names the entry which is neither */
export function createTrustedProxies(entries: readonly string[]): TrustedProxies {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', prefix] = entry.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    try {
      if (prefix === undefined) list.addAddress(address, family);
      else list.addSubnet(address, Number(prefix), family);
    } catch {
      throw new Error(`trustedProxies: "${entry}" is no address and no CIDR`);
    }
  }
  return { trusts: (address) => entries.length > 0 && list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4') };
}

/** Appends Host and X-Forwarded-* for the sandbox. A client's own are kept only where its connection comes from a trusted proxy. */
export function addForwardingHeaders(
  headers: string[],
  scanned: ScannedHeaders,
  remoteAddress: string,
  encrypted: boolean,
  prefix: string,
  proxies: TrustedProxies,
): void {
  const host = scanned.host ?? '';
  const trusted = proxies.trusts(remoteAddress);
  const chain =
    trusted && scanned.forwardedFor !== undefined ? `${scanned.forwardedFor}, ${remoteAddress}` : remoteAddress;
  const proto = (trusted ? scanned.forwardedProto : undefined) ?? (encrypted ? 'https' : 'http');
  const originalHost = (trusted ? scanned.forwardedHost : undefined) ?? host;
  headers.push('host', host, 'x-forwarded-for', chain, 'x-forwarded-proto', proto, 'x-forwarded-host', originalHost);
  const outer = trusted ? (scanned.forwardedPrefix ?? '') : '';
  if (outer !== '' || prefix !== '') headers.push('x-forwarded-prefix', outer + prefix);
  const node = remoteAddress.includes(':') ? `"[${remoteAddress}]"` : remoteAddress;
  headers.push('forwarded', `for=${node};host="${originalHost.replace(/["\\]/g, '')}";proto=${proto}`);
}
