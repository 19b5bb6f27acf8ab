/**
 * What a page may do that shares its host with other sandboxes: scripts, forms and windows, in an origin of its own that no other page has. Never with
 * `allow-same-origin`, and windows that it opens stay in it.
 */
const SANDBOX_POLICY = 'sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads';

/** Headers that speak for a whole host, by lower-case name: where a host has many sandboxes, none of them may. */
const HOST_WIDE = new Set([
  'service-worker-allowed',
  'clear-site-data',
  'strict-transport-security',
  'alt-svc',
  'nel',
  'report-to',
  'use-as-dictionary',
]);

/** Makes an answer in path form safe for a browser: in place, in a list of name, value, … */
export function isolateAnswer(headers: string[]): void {
  dropHeaders(headers, (name) => HOST_WIDE.has(name));
  // Beside the sandbox's own policies, not in their place: a browser keeps to all of them.
  headers.push('content-security-policy', SANDBOX_POLICY);
}

/** On a sandbox's own origin it may clear what is its own; cookies belong to the whole domain, and the router's are among them. */
export function guardOwnOrigin(headers: string[]): void {
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index]?.toLowerCase() !== 'clear-site-data') continue;
    const kept = (headers[index + 1] ?? '').split(',').filter((type) => /^\s*"(?:cache|storage)"\s*$/.test(type));
    // An empty list clears nothing.
    headers[index + 1] = kept.join(',');
  }
  dropHeaders(headers, (name, value) => name === 'alt-svc' || (name === 'clear-site-data' && value === ''));
}

function dropHeaders(headers: string[], drop: (name: string, value: string) => boolean): void {
  for (let index = headers.length - 2; index >= 0; index -= 2)
    if (drop((headers[index] as string).toLowerCase(), headers[index + 1] as string)) headers.splice(index, 2);
}
