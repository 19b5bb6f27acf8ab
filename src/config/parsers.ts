import { parseDurationMs, parseListenAddress, parseMillicores, parseNameServer } from './values.ts';

/** `host:port`, checked and left as it is. */
export function listenAddress(raw: unknown): string {
  parseListenAddress(text(raw));
  return text(raw);
}

/** A text that is not empty. */
export function text(raw: unknown): string {
  if (typeof raw !== 'string' || raw === '') throw new Error('must be a text that is not empty');
  return raw;
}

/** A list, or a text with commas. */
export function textList(raw: unknown): readonly string[] {
  const items = Array.isArray(raw) ? raw.map(text) : text(raw).split(',');
  return items.map((item) => item.trim()).filter((item) => item !== '');
}

/** Addresses of DNS servers, checked and left as they are. */
export function nameServers(raw: unknown): readonly string[] {
  const items = textList(raw);
  for (const item of items) parseNameServer(item);
  return items;
}

/** One of some texts. */
export function oneOf<const Value extends string>(...choices: Value[]): (raw: unknown) => Value {
  return (raw) => {
    const choice = choices.find((candidate) => candidate === raw);
    if (choice === undefined) throw new Error(`must be one of ${choices.join(', ')}`);
    return choice;
  };
}

/** A switch. */
export function boolean(raw: unknown): boolean {
  if (raw === true || raw === 'true' || raw === '1') return true;
  if (raw === false || raw === 'false' || raw === '0') return false;
  throw new Error('must be true or false');
}

/** Milliseconds of a duration. */
export function duration(raw: unknown): number {
  return parseDurationMs(text(raw));
}

/** Milliseconds of a duration; 0 for `never`. */
export function durationOrNever(raw: unknown): number {
  return raw === 'never' ? 0 : duration(raw);
}

/** A whole number, 1 or more. */
export function count(raw: unknown): number {
  const value = countOrZero(raw);
  if (value === 0) throw new Error('must be at least 1');
  return value;
}

/** A whole number, 0 or more. */
export function countOrZero(raw: unknown): number {
  const value = typeof raw === 'string' && /^\d+$/.test(raw) ? Number(raw) : raw;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw new Error('must be a whole number, 0 or more');
  return value;
}

/** Thousandths of a CPU; 0 for none. */
export function millicores(raw: unknown): number {
  return parseMillicores(typeof raw === 'number' ? String(raw) : text(raw));
}
