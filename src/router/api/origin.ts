import type { FastifyRequest } from 'fastify';
import { scanHeaders, type TrustedProxies } from '../forward/index.ts';
import type { SandboxName } from '../identity/index.ts';

/** Where sandboxes are reached by whoever sent a request. */
export interface SandboxUrls {
  path: string;
  /** Null without a base domain, and for names that contain `--` (design section 4). */
  host: string | null;
}

/** URLs of sandboxes as callers see this router: by the host that they asked, or that a trusted proxy says they asked. */
export function createUrls(
  proxies: TrustedProxies,
  baseDomain: string | undefined,
): (request: FastifyRequest, sandbox: SandboxName) => SandboxUrls {
  return (request, { namespace, name }) => {
    const { host = '', forwardedHost, forwardedProto } = scanHeaders(request.raw.rawHeaders);
    const { socket } = request.raw;
    const trusted = proxies.trusts(socket.remoteAddress ?? '');
    const scheme = (trusted ? forwardedProto : undefined) ?? ('encrypted' in socket ? 'https' : 'http');
    const authority = (trusted ? forwardedHost : undefined) ?? host;
    const port = /:\d+$/.exec(authority)?.[0] ?? '';
    const hostForm = baseDomain !== undefined && !name.includes('--') && !namespace.includes('--');
    return {
      path: `${scheme}://${authority}/${name}.${namespace}/`,
      host: hostForm ? `${scheme}://${name}--${namespace}.${baseDomain}${port}/` : null,
    };
  };
}
