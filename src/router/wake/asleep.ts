import { LRUCache } from 'lru-cache';
import type { Route } from '../table/index.ts';
import { type Intent, withoutQuery } from './intent.ts';

/** An answer that the router gives in place of a sandbox that is asleep. */
export interface AsleepAnswer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** The parts of a CORS preflight that its answer depends on. */
export interface Preflight {
  path: string;
  origin: string;
  method: string;
  headers: string;
}

/** Answers for sandboxes that are asleep, without waking them. */
export interface AsleepAnswers {
  /** The answer that its owner fixed for the path, or that it gave to the same preflight while it ran; undefined where there is none. */
  find(
    route: Route,
    intent: Intent,
    request: { method: string; path: string; preflight: Preflight },
  ): AsleepAnswer | undefined;
  /** Remembers what a running sandbox answered to a preflight. `headers` are name, value, … */
  remember(route: Route, preflight: Preflight, status: number, headers: readonly string[]): void;
}

/** Sandboxes whose preflights are remembered, and preflights of each. */
const MOST_SANDBOXES = 4096;
const MOST_PREFLIGHTS = 16;
const MOST_HEADER_CHARACTERS = 2048;
/** RFC 9211: whose answer it is, and why. */
const CACHE_STATUS = 'sandbox-router; hit; detail=';

/** Nothing is remembered yet. */
export function createAsleepAnswers(): AsleepAnswers {
  const bySandbox = new LRUCache<string, LRUCache<string, AsleepAnswer>>({ max: MOST_SANDBOXES });
  const keyOf = ({ path, origin, method, headers }: Preflight) => [method, path, origin, headers].join('\n');

  return {
    find: ({ sandbox }, intent, { method, path, preflight }) => {
      if (intent === 'preflight') return bySandbox.get(sandbox.uid)?.get(keyOf(preflight));
      if (method !== 'GET' && method !== 'HEAD') return undefined;
      const answers = sandbox.asleep?.answers ?? {};
      const plain = withoutQuery(path);
      const fixed = Object.hasOwn(answers, plain) ? answers[plain] : undefined;
      if (fixed === undefined) return undefined;
      const headers = {
        'content-type': fixed.contentType,
        'cache-control': 'no-store',
        'cache-status': `${CACHE_STATUS}asleep-answer`,
      };
      return { status: fixed.status, headers, body: fixed.body };
    },
    remember: ({ sandbox }, preflight, status, raw) => {
      const headers = corsHeaders(raw);
      const key = keyOf(preflight);
      if (key.length > MOST_HEADER_CHARACTERS || status >= 500 || headers === undefined) return;
      let answers = bySandbox.get(sandbox.uid);
      if (answers === undefined) {
        answers = new LRUCache({ max: MOST_PREFLIGHTS });
        bySandbox.set(sandbox.uid, answers);
      }
      answers.set(key, {
        status,
        headers: { ...headers, 'cache-status': `${CACHE_STATUS}last-running-answer` },
        body: '',
      });
    },
  };
}

/** What of an answer a preflight is about; undefined if that is too much to keep. */
function corsHeaders(raw: readonly string[]): Record<string, string> | undefined {
  const headers: Record<string, string> = {};
  let characters = 0;
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] as string).toLowerCase();
    if (!name.startsWith('access-control-') && name !== 'vary' && name !== 'allow') continue;
    const value = raw[index + 1] as string;
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
    characters += name.length + value.length;
  }
  return characters <= MOST_HEADER_CHARACTERS ? headers : undefined;
}

/** Why a quiet request of a sandbox that is asleep gets no answer, in words. */
export function quietRefusal({ sandbox }: Route, intent: Intent): string {
  const what: Record<Intent, string> = {
    use: 'this request',
    prefetch: 'a prefetch',
    unfurl: 'a link preview or crawler, by its User-Agent,',
    monitor: 'a monitor, by its User-Agent,',
    preflight: 'a CORS preflight whose answer is not known',
    head: 'HEAD',
    favicon: 'a request for the favicon',
    robots: 'a request for robots.txt',
    health: 'a request for a path with a fixed answer',
  };
  const fault = sandbox.asleep?.fault === undefined ? '' : ` Not in force: ${sandbox.asleep.fault}.`;
  return `${sandbox.name} is asleep, and ${what[intent]} does not wake it unless its annotation sandbox-router/wake-on names "${intent}".${fault}`;
}
