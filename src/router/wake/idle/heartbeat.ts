/** Heartbeats are small; a longer chunk says something. */
const MOST_HEARTBEAT_BYTES = 256;
const COLON = 0x3a;
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** Whether a chunk of a stream of server-sent events has only comments and blank lines (HTML standard, section 9.2.6): it keeps a connection alive, and no sandbox. */
export function isHeartbeat(chunk: Uint8Array): boolean {
  if (chunk.length > MOST_HEARTBEAT_BYTES) return false;
  let lineBegins = true;
  for (const byte of chunk) {
    if (byte === NEWLINE || byte === RETURN) lineBegins = true;
    else if (lineBegins && byte !== COLON) return false;
    else lineBegins = false;
  }
  return true;
}

/** Whether an answer's headers (name, value, …) announce server-sent events. */
export function isEventStream(headers: readonly string[]): boolean {
  for (let index = 0; index < headers.length; index += 2)
    if (headers[index]?.toLowerCase() === 'content-type')
      return /^text\/event-stream\b/i.test(headers[index + 1] ?? '');
  return false;
}
