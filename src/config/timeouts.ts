import { type Reader, readMapping } from './structured.ts';
import { nearest, parseDurationMs } from './values.ts';

/** Bounds of time towards a sandbox, in milliseconds; 0 for none. */
export interface Timeouts {
  /** Dialling it. */
  connectMs: number;
  /** From the request until the head of its answer. */
  responseHeaderMs: number;
  /** Silence in the middle of an answer. */
  idleStreamMs: number;
  /** The whole request. */
  requestMs: number;
  /** A WebSocket, or another upgraded connection, on which nothing moves. */
  webSocketIdleMs: number;
  /** The life of one, however busy. */
  webSocketMaxAgeMs: number;
}

/** What holds where nobody says otherwise (design section 6). */
export const DEFAULT_TIMEOUTS: Timeouts = {
  connectMs: 2000,
  responseHeaderMs: 300_000,
  idleStreamMs: 300_000,
  requestMs: 0,
  webSocketIdleMs: 0,
  webSocketMaxAgeMs: 0,
};

/** A duration, or `never`; a dial has to end. */
const aTimeout: Reader<number> = (raw, where) => {
  if (raw === 'never' && !where.endsWith('connect')) return 0;
  try {
    return parseDurationMs(String(raw));
  } catch (error) {
    throw new Error(`${where} ${(error as Error).message}${where.endsWith('connect') ? '' : ', or never'}`);
  }
};

const fields = {
  connect: aTimeout,
  responseHeader: aTimeout,
  idleStream: aTimeout,
  request: aTimeout,
  webSocketIdle: aTimeout,
  webSocketMaxAge: aTimeout,
};

/** The mapping `timeouts` of a configuration file. @throws Error that names the key */
export const someTimeouts: Reader<Partial<Timeouts>> = (raw, where) =>
  Object.fromEntries(Object.entries(readMapping(raw, where, fields)).map(([name, value]) => [`${name}Ms`, value]));

/** The same in one line, as an annotation has it: `responseHeader=10m,request=30s`. @throws Error that names the key */
export function parseTimeoutList(text: string): Partial<Timeouts> {
  const mapping: Record<string, string> = {};
  for (const entry of text.split(',')) {
    const [, name, value] = /^\s*(\w+)\s*=\s*(\S+)\s*$/.exec(entry) ?? [];
    if (name === undefined || value === undefined)
      throw new Error(`"${entry.trim()}" is not <name>=<duration>; names are ${Object.keys(fields).join(', ')}`);
    if (!Object.hasOwn(fields, name))
      throw new Error(`unknown timeout "${name}". Did you mean "${nearest(name, Object.keys(fields))}"?`);
    mapping[name] = value;
  }
  return someTimeouts(mapping, 'timeouts');
}
