/** Fields that frame a message, name its way or its sender: none of them may come after it (RFC 9110 section 6.5.1), and HTTP/2 has no place for some. */
const NEVER = new Set([
  'authorization',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'cookie',
  'forwarded',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'sandbox-authorization',
  'set-cookie',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Trailers (name, value, …) by name, as HTTP/2 sends them; without what may be none. */
export function trailersByName(flat: readonly string[]): Record<string, string[]> {
  const trailers: Record<string, string[]> = {};
  for (let index = 0; index < flat.length; index += 2) {
    const name = (flat[index] as string).toLowerCase();
    if (NEVER.has(name) || name.startsWith('x-forwarded-') || !/^[\w!#$%&'*+.^`|~-]+$/.test(name)) continue;
    trailers[name] ??= [];
    trailers[name].push(flat[index + 1] as string);
  }
  return trailers;
}
