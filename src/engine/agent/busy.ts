import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { dirname } from 'node:path';

/** The busy lease of this sandbox: whoever works without anybody calling says so here, and is not paused meanwhile. */
export interface BusyLease {
  /** Takes or renews it. @throws BusyRequestError */
  take(body: string): void;
  giveBack(): void;
  /** What is in force. `seen`: whether the world outside has asked since it was taken. */
  show(): BusyAnswer;
  /** The same for whoever asks from outside. */
  tell(): BusyAnswer;
}

/** Answer of `GET /busy`. `remainingMs` is 0 without a lease. */
export interface BusyAnswer {
  busy: boolean;
  remainingMs: number;
  why: string;
  seen: boolean;
}

/** A lease that can't be had; the message says why not. */
export class BusyRequestError extends Error {}

/** Longest lease: who works longer renews it. */
const LONGEST_MS = 3_600_000;
const MOST_WHY_CHARACTERS = 200;
const MOST_BODY_BYTES = 4096;
const UNITS = { s: 1000, m: 60_000, h: 3_600_000 };

/** No lease. The wall clock tells its end, as it goes on while a sandbox is in a snapshot. */
export function createBusyLease(now: () => number = Date.now): BusyLease {
  let untilMs = 0;
  let why = '';
  let seen = false;

  function show(): BusyAnswer {
    const remainingMs = Math.max(0, untilMs - now());
    const busy = remainingMs > 0;
    return { busy, remainingMs, why: busy ? why : '', seen: busy && seen };
  }

  return {
    show,
    take: (body) => {
      const wanted = parse(body);
      untilMs = now() + wanted.forMs;
      why = wanted.why;
      seen = false;
    },
    giveBack: () => {
      untilMs = 0;
      seen = false;
    },
    tell: () => {
      seen = true;
      return show();
    },
  };
}

function parse(body: string): { forMs: number; why: string } {
  let wanted: { for?: unknown; why?: unknown };
  try {
    wanted = JSON.parse(body) as typeof wanted;
  } catch {
    throw new BusyRequestError('the body must be JSON such as {"for": "10m", "why": "training"}');
  }
  const { for: duration, why = '' } = wanted ?? {};
  const [, number, unit] = /^(\d{1,5})([smh])$/.exec(typeof duration === 'string' ? duration : '') ?? [];
  if (unit === undefined) throw new BusyRequestError('"for" must be a duration such as "90s", "10m" or "1h"');
  const forMs = Number(number) * UNITS[unit as keyof typeof UNITS];
  if (forMs === 0) throw new BusyRequestError('"for" must be above 0: give the lease back by DELETE');
  if (forMs > LONGEST_MS) throw new BusyRequestError('"for" may be "1h" at most: renew the lease before it ends');
  if (typeof why !== 'string' || why.length > MOST_WHY_CHARACTERS)
    throw new BusyRequestError(`"why" must be a text of ${MOST_WHY_CHARACTERS} characters at most`);
  return { forMs, why };
}

/** Serves `POST`, `GET` and `DELETE /busy` on a Unix socket that everybody in the sandbox may use. */
export function startBusySocket(path: string, lease: BusyLease, failed: (error: Error) => void): Server {
  const server = createServer((request, response) => {
    answer(request, response, lease).catch((error: Error) => {
      const status = error instanceof BusyRequestError ? 400 : 500;
      json(response, status, { message: error.message });
    });
  });
  // Clocks jump over a checkpoint: an idle limit would close every kept connection at the first moment after it.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  server.on('error', failed);
  try {
    mkdirSync(dirname(path), { recursive: true });
    // Of an agent that ended without a word.
    rmSync(path, { force: true });
    server.listen(path, () => chmodSync(path, 0o666));
  } catch (error) {
    failed(error as Error);
  }
  return server;
}

async function answer(request: IncomingMessage, response: ServerResponse, lease: BusyLease): Promise<void> {
  const [path] = (request.url ?? '/').split('?', 1);
  if (path !== '/busy') return json(response, 404, { message: `${path} is not served here; /busy is` });
  switch (request.method) {
    case 'POST':
      lease.take(await bodyOf(request));
      break;
    case 'DELETE':
      lease.giveBack();
      break;
    case 'GET':
      break;
    default:
      response.setHeader('allow', 'GET, POST, DELETE');
      return json(response, 405, { message: 'GET, POST or DELETE' });
  }
  json(response, 200, lease.show());
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > MOST_BODY_BYTES) throw new BusyRequestError(`the body is over ${MOST_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function json(response: ServerResponse, status: number, body: unknown): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
