import { createHash } from 'node:crypto';

/** What runs in the page: it follows the phases, and loads the page that was asked for when the wake has ended. Nothing of a request is in it. */
const SCRIPT = `
const status = document.getElementById('status');
const names = { queue: 'Waiting for its turn', schedule: 'Finding a place', restore: 'Restoring its memory', ready: 'Starting', connect: 'Connecting' };
const source = new EventSource(document.body.dataset.wake);
const show = (event) => {
  const wake = JSON.parse(event.data);
  const line = names[wake.phase] ?? wake.status;
  status.textContent = wake.position > 0 ? line + ' (' + wake.position + ' before it)' : line;
  for (const item of document.querySelectorAll('li')) {
    const took = wake.durationsMs[item.dataset.phase];
    if (took !== undefined) item.textContent = names[item.dataset.phase] + ': ' + (took / 1000).toFixed(1) + ' s';
  }
  return wake;
};
source.addEventListener('phase', show);
source.addEventListener('end', (event) => {
  show(event);
  source.close();
  location.reload();
});
source.addEventListener('error', () => {
  source.close();
  setTimeout(() => location.reload(), 2000);
});
`;
const STYLE =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem;color:#222}li{color:#666}';
const hashOf = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const POLICY = [
  "default-src 'none'",
  `script-src ${hashOf(SCRIPT)}`,
  `style-src ${hashOf(STYLE)}`,
  "connect-src 'self'",
  "frame-ancestors 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');
const PHASES = [
  ['queue', 'Waiting for its turn'],
  ['schedule', 'Finding a place'],
  ['restore', 'Restoring its memory'],
  ['ready', 'Starting'],
  ['connect', 'Connecting'],
];

/** The page of a browser that waits: with live phases, and without scripts by a refresh. */
export function wakingPage(
  sandbox: string,
  statusPath: string,
  retryAfterSeconds: number,
): { status: number; headers: Record<string, string>; body: string } {
  // Names and paths are labels and UUIDs: nothing that HTML could take for its own.
  const list = PHASES.map(([phase, name]) => `<li data-phase="${phase}">${name}</li>`).join('');
  const refreshSeconds = Math.max(1, Math.min(10, Math.ceil(retryAfterSeconds)));
  return {
    status: 503,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': POLICY,
      'cache-control': 'no-store',
      'retry-after': String(Math.max(1, Math.ceil(retryAfterSeconds))),
    },
    body: `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${sandbox} is waking</title>
<noscript><meta http-equiv="refresh" content="${refreshSeconds}"></noscript><style>${STYLE}</style></head>
<body data-wake="${statusPath}"><h1>${sandbox} is waking</h1><p id="status" role="status">One moment, please.</p><ol>${list}</ol><script>${SCRIPT}</script></body></html>
`,
  };
}
