/** What became of a sandbox; `reported` is what others (controllers, the engine) say of it in Events of theirs. */
export const LEDGER_TYPES = [
  'woken',
  'wake_failed',
  'kept_awake',
  'paused',
  'pause_cancelled',
  'pause_failed',
  'refused',
  'reported',
] as const;

/** One of {@link LEDGER_TYPES}. */
export type LedgerType = (typeof LEDGER_TYPES)[number];

/** Who or what it was: a request to the sandbox, a call of `/-/v1`, a command of the CLI, or a rule. Never a query, a header or a body. */
export interface Cause {
  via: 'request' | 'api' | 'command' | 'rule';
  /** Public name of the credential. */
  credential?: string;
  method?: string;
  /** Without its query. */
  path?: string;
  /** Why the request came, as waking tells it. */
  intent?: string;
  /** The rule in words, or the command. */
  rule?: string;
}

/** Something that kept a sandbox awake, and in how many seconds it was the first to. */
export interface UseSource {
  source: string;
  seconds: number;
}

/** One event, as it comes about. */
export interface LedgerFact {
  type: LedgerType;
  cause?: Cause;
  /** Code of a problem, or reason of an Event. */
  code?: string;
  detail?: string;
  durationMs?: number;
  /** Durations of the phases of a wake. */
  phasesMs?: Record<string, number>;
  /** The most important first. */
  sources?: UseSource[];
}

/** One event, as it is read back. The same cause again and again is one entry with a count. */
export interface LedgerEntry extends LedgerFact {
  id: string;
  /** All of it in one line. */
  summary: string;
  /** RFC 3339. */
  firstAt: string;
  lastAt: string;
  count: number;
  /** Which router, controller or command says so. */
  reporter: string;
}

const MOST_PATH_CHARACTERS = 200;
const MOST_DETAIL_CHARACTERS = 500;

/** A text that may stand in an Event and on a terminal: no control characters, and not longer than this. */
export function plain(text: string, most = MOST_DETAIL_CHARACTERS): string {
  const shown = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
  return shown.length > most ? `${shown.slice(0, most - 1)}…` : shown;
}

/** Path of a URL for the ledger: queries carry secrets. */
export function pathOf(url: string): string {
  return plain(url.split(/[?#]/, 1)[0] ?? '', MOST_PATH_CHARACTERS);
}

/** `alice: GET /api`, `idle for 10m`. */
export function describeCause({ via, credential, method, path, intent, rule }: Cause): string {
  if (via === 'rule') return rule ?? 'a rule';
  const what = method === undefined ? (rule ?? via) : `${method} ${path ?? '/'}`;
  const why = intent === undefined || intent === 'use' ? '' : ` (${intent})`;
  return `${credential ?? 'somebody'}: ${what}${why}`;
}

const VERBS: Record<LedgerType, string> = {
  woken: 'Woken by',
  wake_failed: 'Could not be woken for',
  kept_awake: 'Kept awake by',
  paused: 'Paused by',
  pause_cancelled: 'Not paused: called off by',
  pause_failed: 'Could not be paused by',
  refused: 'Refused to',
  reported: '',
};

/** One line for people. */
export function describeFact({ type, cause, code, detail, durationMs, sources }: LedgerFact): string {
  const who = cause === undefined ? (sources ?? []).map(describeSource).join(', ') : describeCause(cause);
  const parts = [type === 'reported' ? (code ?? '') : `${VERBS[type]} ${who}`.trim()];
  if (durationMs !== undefined) parts.push(`in ${describeMs(durationMs)}`);
  const why = [type === 'reported' ? undefined : code, detail].filter((text) => text !== undefined && text !== '');
  return plain(`${parts.join(' ')}${why.length > 0 ? `: ${why.join(': ')}` : ''}`, 2 * MOST_DETAIL_CHARACTERS);
}

function describeSource({ source, seconds }: UseSource): string {
  return `${source} (${seconds} s)`;
}

/** `184 ms`, `2.5 s`. */
export function describeMs(durationMs: number): string {
  return durationMs < 1000 ? `${Math.round(durationMs)} ms` : `${(durationMs / 1000).toFixed(1)} s`;
}

/** What makes two facts the same: of refusals only who and why, as paths may all be different. */
export function mergeKeyOf({ type, cause, code }: LedgerFact): string {
  const { via, credential, method, path, intent, rule } = cause ?? {};
  const what = type === 'refused' ? [intent] : [method, path, intent, rule];
  return JSON.stringify([type, code, via, credential, ...what]);
}
