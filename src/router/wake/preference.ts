/** What of RFC 7240 a caller asks for. */
export interface Preferences {
  /** `respond-async`: rather a 202 at once than a long wait. */
  respondAsync: boolean;
  /** `wait`: the longest wait, in milliseconds. */
  waitMs: number | undefined;
}

const NONE: Preferences = { respondAsync: false, waitMs: undefined };

/** Reads `Prefer`; what is unknown or can't be read is no preference (RFC 7240 section 2). Of one that comes twice the first counts. */
export function readPreferences(header: string | undefined): Preferences {
  if (header === undefined) return NONE;
  let respondAsync = false;
  let waitMs: number | undefined;
  for (const part of header.split(',')) {
    const [name = '', value = ''] = (part.split(';', 1)[0] ?? '')
      .split('=', 2)
      .map((text) => text.trim().replace(/^"(.*)"$/, '$1'));
    if (name.toLowerCase() === 'respond-async') respondAsync = true;
    else if (name.toLowerCase() === 'wait' && waitMs === undefined && /^\d{1,6}$/.test(value))
      waitMs = Number(value) * 1000;
  }
  return { respondAsync, waitMs };
}
