import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { ApiError } from '../../../kubernetes/index.ts';
import { internalError } from '../errors.ts';
import type { Endpoint, ObjectEvent } from '../operations/index.ts';
import { representEvent, type Shape } from './represent.ts';

/**
 * Sends a watch as chunked JSON lines until it ends, the client leaves or `stop` aborts. A client that doesn't read holds back its own
 * watch only: nothing is queued here beyond the socket's buffer.
 */
export async function streamWatch(
  response: ServerResponse,
  endpoint: Endpoint,
  events: AsyncGenerator<ObjectEvent>,
  stop: AbortController,
  shape: () => Shape,
): Promise<void> {
  const leave = () => stop.abort();
  response.once('close', leave);
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
  response.flushHeaders();
  let first = true;
  try {
    for await (const { type, object } of events) {
      await send(
        response,
        { type, object: representEvent(endpoint, object, type === 'BOOKMARK', first, shape()) },
        stop.signal,
      );
      first = false;
    }
  } catch (error) {
    if (!stop.signal.aborted) {
      const { status } = error instanceof ApiError ? error : internalError(error);
      await send(response, { type: 'ERROR', object: status }, stop.signal).catch(() => {});
    }
  } finally {
    response.off('close', leave);
    response.end();
  }
}

async function send(response: ServerResponse, event: unknown, signal: AbortSignal): Promise<void> {
  if (response.write(`${JSON.stringify(event)}\n`) || signal.aborted) return;
  await once(response, 'drain', { signal });
}
