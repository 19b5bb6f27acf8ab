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

/** What of trailers (name, value, …) may be one. */
export function passedTrailers(flat: readonly string[]): string[] {
  const passed: string[] = [];
  for (let index = 0; index < flat.length; index += 2) {
    const name = flat[index] as string;
    const lower = name.toLowerCase();
    if (NEVER.has(lower) || lower.startsWith('x-forwarded-') || !/^[\w!#$%&'*+.^`|~-]+$/.test(name)) continue;
    passed.push(name, flat[index + 1] as string);
  }
  return passed;
}

/** Trailers (name, value, …) by name, as HTTP/2 sends them; without what may be none. */
export function trailersByName(flat: readonly string[]): Record<string, string[]> {
  const trailers: Record<string, string[]> = {};
  const passed = passedTrailers(flat);
  for (let index = 0; index < passed.length; index += 2) {
    const name = (passed[index] as string).toLowerCase();
    trailers[name] ??= [];
    trailers[name].push(passed[index + 1] as string);
  }
  return trailers;
}
