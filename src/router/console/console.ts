import { readFileSync } from 'node:fs';
import type { FastifyInstance } from 'fastify';

/** Nothing but what the page itself brings; no frames around it, and no text of a sandbox can become markup or code. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

const FILES = [
  { url: '/-/console', file: 'console.html', type: 'text/html; charset=utf-8' },
  { url: '/-/console/console.css', file: 'console.css', type: 'text/css; charset=utf-8' },
  ...['console.js', 'client.js', 'table.js', 'details.js'].map((file) => ({
    url: `/-/console/${file}`,
    file,
    type: 'text/javascript; charset=utf-8',
  })),
];

/** Serves the console's files, which hold no data: whoever opens it sees a form that asks for a key. */
export function registerConsole(fastify: FastifyInstance): void {
  for (const { url, file, type } of FILES) {
    const body = readFileSync(new URL(`page/${file}`, import.meta.url));
    fastify.get(url, { schema: { hide: true } }, async (_request, reply) => {
      reply.headers({
        'content-type': type,
        'content-security-policy': POLICY,
        // A window that a sandbox opened, or that it was opened by, is not reached from there.
        'cross-origin-opener-policy': 'same-origin',
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-cache',
      });
      return body;
    });
  }
}
