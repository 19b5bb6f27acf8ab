import { InvalidResponseError } from './errors.ts';

/** Status line and fields of an answer, as they came. */
export interface ResponseHead {
  /** 0 or 1 of HTTP/1.x. */
  minor: number;
  status: number;
  reason: string;
  /** name, value, … with the bytes that they had (latin1). */
  fields: string[];
}

/** What may stand in a field's name: `tchar` of RFC 9110 section 5.6.2. */
const TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  TOKEN[char.charCodeAt(0)] = 1;

const TAB = 0x09;
const SPACE = 0x20;
const COLON = 0x3a;
const DELETE = 0x7f;

/**
 * Reads the head of an answer, without its empty line (RFC 9112 sections 4 and 5). Lines end with CRLF and nothing else; a field's name is a token that its
 * colon follows at once; folded lines and control characters are refused. @throws InvalidResponseError
 */
export function parseHead(text: string): ResponseHead {
  const lineEnd = text.indexOf('\r\n');
  const line = lineEnd < 0 ? text : text.slice(0, lineEnd);
  const minor = line.charCodeAt(7) - 48;
  if (!line.startsWith('HTTP/1.') || (minor !== 0 && minor !== 1) || line.charCodeAt(8) !== SPACE)
    throw new InvalidResponseError('no status line of HTTP/1.1');
  const status = digits3(line);
  if (status < 100 || (line.length > 12 && line.charCodeAt(12) !== SPACE))
    throw new InvalidResponseError('no status of three digits');
  const reason = line.slice(13);
  for (let at = 0; at < reason.length; at++)
    if (isControl(reason.charCodeAt(at))) throw new InvalidResponseError('a control character in the reason');
  return { minor, status, reason, fields: lineEnd < 0 ? [] : parseFields(text, lineEnd + 2) };
}

/** Fields of a head or of trailers, from a place in the text to its end; lines are parted by CRLF. @throws InvalidResponseError */
export function parseFields(text: string, from: number): string[] {
  const fields: string[] = [];
  let at = from;
  while (at < text.length) {
    const nameAt = at;
    while (TOKEN[text.charCodeAt(at)] === 1) at++;
    if (at === nameAt || text.charCodeAt(at) !== COLON) throw new InvalidResponseError('a line that is no field');
    const name = text.slice(nameAt, at++);
    while (isBlank(text.charCodeAt(at))) at++;
    const valueAt = at;
    while (at < text.length && !isControl(text.charCodeAt(at))) at++;
    const lineEnd = at;
    if (at < text.length) {
      if (!text.startsWith('\r\n', at)) throw new InvalidResponseError('a control character in a field');
      at += 2;
    }
    let valueEnd = lineEnd;
    while (valueEnd > valueAt && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd--;
    fields.push(name, text.slice(valueAt, valueEnd));
  }
  return fields;
}

function digits3(line: string): number {
  let value = 0;
  for (let at = 9; at < 12; at++) {
    const digit = line.charCodeAt(at) - 48;
    if (!(digit >= 0 && digit <= 9)) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

function isControl(code: number): boolean {
  return (code < SPACE && code !== TAB) || code === DELETE;
}
