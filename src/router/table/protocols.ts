/** What a sandbox's port speaks: HTTP/1.1 (`http`), HTTP/2 without TLS (`h2c`), HTTP/1.1 over TLS (`https`), HTTP/2 over TLS (`h2`). */
export type UpstreamProtocol = 'http' | 'h2c' | 'https' | 'h2';

/** Protocols by port; `*` stands for the ports that are not named. Undefined in most records: everything is HTTP/1.1. */
export type PortProtocols = Readonly<Record<string, UpstreamProtocol>>;

const PROTOCOLS: ReadonlySet<string> = new Set<UpstreamProtocol>(['http', 'h2c', 'https', 'h2']);

/** Reads the annotation `sandbox-router/protocol`: `h2c` for every port, `50051=h2c,8443=https` for some. What can't be read counts as absent. */
export function portProtocols(annotation: string | undefined): PortProtocols | undefined {
  if (annotation === undefined) return undefined;
  const protocols: Record<string, UpstreamProtocol> = {};
  for (const entry of annotation.split(',')) {
    const [, port = '*', protocol = ''] = /^\s*(?:(\d{1,5})\s*=\s*)?(\w+)\s*$/.exec(entry) ?? [];
    if (!PROTOCOLS.has(protocol)) return undefined;
    protocols[port] = protocol as UpstreamProtocol;
  }
  return protocols;
}

/** What a port speaks. */
export function protocolOf(protocols: PortProtocols, port: number): UpstreamProtocol {
  return protocols[port] ?? protocols['*'] ?? 'http';
}
