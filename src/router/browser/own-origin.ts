/** Which sandbox, as far as a URL says. */
export interface OriginParts {
  sandbox: string;
  namespace: string | undefined;
  port: number | undefined;
}

/** Host of a sandbox's own origin, without port: `box--team--3000.example.com`. Undefined where it has none: names with `--`, or too long for DNS. */
export function ownHostOf({ sandbox, namespace, port }: OriginParts, baseDomain: string): string | undefined {
  if (sandbox.includes('--') || namespace?.includes('--')) return undefined;
  // A port can only follow a namespace.
  if (port !== undefined && namespace === undefined) return undefined;
  const label = [sandbox, namespace, port].filter((part) => part !== undefined).join('--');
  return label.length > 63 ? undefined : `${label}.${baseDomain}`;
}

/** `:8080` of a host with port, else nothing. */
export function portSuffix(host: string): string {
  return /:\d+$/.exec(host)?.[0] ?? '';
}
