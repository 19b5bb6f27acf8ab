import { isIPv4, isIPv6 } from 'node:net';

const unitsMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of a duration such as `55s`, `10m`, `1h30m` or `250ms`. @throws Error that shows the form wanted */
export function parseDurationMs(value: string): number {
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== value)
    throw new Error('must be a duration such as 500ms, 55s, 10m or 1h30m');
  return parts.reduce((sum, part) => sum + Number(part[1]) * (unitsMs[part[2] ?? ''] ?? 0), 0);
}

/** Host and port of `127.0.0.1:8080`, `[::1]:8080` or `:8080` (all interfaces); port 0 lets the system choose. @throws Error that shows the form wanted */
export function parseListenAddress(value: string): { host: string; port: number } {
  const match = /^(?:\[(?<ipv6>[0-9a-fA-F:.]+)\]|(?<host>[^:[\]]*)):(?<port>\d{1,5})$/.exec(value);
  const port = Number(match?.groups?.port);
  if (match === null || port > 65_535) throw new Error('must be host:port such as 127.0.0.1:8080 or [::1]:8080');
  return { host: match.groups?.ipv6 ?? (match.groups?.host || '0.0.0.0'), port };
}

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** The candidate with the fewest edits to `word`, for "did you mean"; the first of equals. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: { candidate: string; distance: number } | undefined;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (best === undefined || distance < best.distance) best = { candidate, distance };
  }
  return best?.candidate;
}

/** Levenshtein distance. */
function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[right.length] ?? 0;
}

/** A DNS server: `192.0.2.1`, `192.0.2.1:5353` or `[2001:db8::1]:53`; port 53 unless told. @throws Error that says what is wanted */
export function parseNameServer(value: string): { address: string; port: number } {
  const [, bracketed, plain = '', portText] = /^(?:\[([^\]]+)\]|([^[\]:]+))(?::(\d{1,5}))?$/.exec(value) ?? [];
  const address = bracketed ?? plain;
  const port = portText === undefined ? 53 : Number(portText);
  if (!(bracketed === undefined ? isIPv4(address) : isIPv6(address)) || port < 1 || port > 65_535)
    throw new Error(
      `"${value}" is no address of a DNS server: 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:53 is wanted`,
    );
  return { address, port };
}

/** Thousandths of a CPU of a Kubernetes quantity such as `100m`, `0.5` or `1`. @throws Error that says what is wanted */
export function parseMillicores(text: string): number {
  const [, number, milli] = /^(\d{1,6}(?:\.\d{1,3})?)(m?)$/.exec(text) ?? [];
  if (number === undefined || (milli === 'm' && number.includes('.')))
    throw new Error('must be an amount of CPU such as 100m or 0.5, 0 for none');
  return Math.round(Number(number) * (milli === 'm' ? 1 : 1000));
}
