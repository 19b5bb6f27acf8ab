import type { Socket } from 'node:net';
import { passedTrailers } from '../trailers.ts';
import type { RequestBody, UpstreamRequest } from './exchange.ts';

/** Methods of which servers expect to be told that no body follows (RFC 9110 section 8.6). */
const WITH_CONTENT = new Set(['POST', 'PUT', 'PATCH']);

/** Head of a request as bytes (latin1), and whether its body goes in chunks. @throws Error for what would not stay in its place */
export function requestHead({ method, path, headers, body }: UpstreamRequest): { text: string; chunked: boolean } {
  let text = `${method} ${path} HTTP/1.1\r\n`;
  let hasLength = false;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] as string;
    if (name.length === 14 && name.toLowerCase() === 'content-length') hasLength = true;
    text += `${name}: ${headers[index + 1]}\r\n`;
  }
  const chunked = body !== null && !hasLength;
  if (chunked) text += 'transfer-encoding: chunked\r\n';
  else if (!hasLength && WITH_CONTENT.has(method)) text += 'content-length: 0\r\n';
  return { text: `${text}connection: keep-alive\r\n\r\n`, chunked };
}

/** A body on its way to a sandbox. */
export interface BodyWriter {
  /** Whether all of it was handed to the connection. */
  done: boolean;
  /** Stops writing; what the client still sends is read and dropped. */
  stop(): void;
}

/** Writes a body with back-pressure. `wrote` is called for each part and for the end, `failed` if the body breaks off. */
export function writeBody(
  socket: Socket,
  body: RequestBody,
  chunked: boolean,
  wrote: () => void,
  failed: (error: Error) => void,
): BodyWriter {
  const onData = (chunk: Buffer) => {
    wrote();
    if (chunk.length === 0) return;
    if (chunked) {
      socket.cork();
      socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
      socket.write(chunk);
    }
    const room = chunked ? socket.write('\r\n', 'latin1') : socket.write(chunk);
    if (chunked) socket.uncork();
    if (!room) body.pause();
  };
  const onDrain = () => body.resume();
  const onEnd = () => {
    detach();
    writer.done = true;
    if (chunked) socket.write(lastChunk(body.rawTrailers ?? []), 'latin1');
    wrote();
  };
  const onError = (error: Error) => {
    detach();
    failed(error);
  };
  const onClose = () => {
    detach();
    failed(new Error('the body broke off'));
  };
  function detach(): void {
    body.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
    socket.off('drain', onDrain);
  }
  const writer: BodyWriter = {
    done: false,
    stop: () => {
      detach();
      // An error after this is nobody's matter any more, but must not be without a listener.
      body.on('error', () => {});
      body.resume();
    },
  };
  socket.on('drain', onDrain);
  body.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
  return writer;
}

function lastChunk(rawTrailers: readonly string[]): string {
  const trailers = rawTrailers.length === 0 ? rawTrailers : passedTrailers(rawTrailers);
  let text = '0\r\n';
  for (let index = 0; index < trailers.length; index += 2) text += `${trailers[index]}: ${trailers[index + 1]}\r\n`;
  return `${text}\r\n`;
}
