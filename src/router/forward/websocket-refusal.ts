import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { closeFrame } from './websocket-frames.ts';

/** RFC 6455 section 1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** "Try again later": registered for RFC 6455 section 7.4. */
const TRY_AGAIN_LATER = 1013;

/**
 * Opens a browser's WebSocket only to close it with 1013 and a reason: a script sees no status of a refused handshake, so this is all it can learn.
 * Undefined for whoever can read an HTTP answer (no `Origin`), and for what is no WebSocket handshake.
 */
export function webSocketRefusal({ headers }: IncomingMessage, reason: string): Buffer | undefined {
  const key = headers['sec-websocket-key'];
  if (headers.origin === undefined || key === undefined || !/^websocket$/i.test(headers.upgrade ?? ''))
    return undefined;
  const accept = createHash('sha1')
    .update(key + ACCEPT_GUID)
    .digest('base64');
  // A browser fails a handshake that chose none of the protocols it offered.
  const [protocol = ''] = (headers['sec-websocket-protocol'] ?? '').split(',');
  const head = [
    'HTTP/1.1 101 Switching Protocols',
    'upgrade: websocket',
    'connection: Upgrade',
    `sec-websocket-accept: ${accept}`,
    ...(protocol.trim() === '' ? [] : [`sec-websocket-protocol: ${protocol.trim()}`]),
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), closeFrame(TRY_AGAIN_LATER, reason)]);
}
