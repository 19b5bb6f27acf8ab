import type { FastifyReply } from 'fastify';
import { badRequest } from '../errors.ts';
import type { Endpoint, ListRequest, Operations } from '../operations/index.ts';
import { isSet } from './flag.ts';
import type { Shape } from './represent.ts';
import { streamWatch } from './watch-stream.ts';

/** What all watches share. */
export interface WatchSettings {
  bookmarkIntervalMs: number;
  /** Longest watch when the client names no time. */
  defaultTimeoutMs: () => number;
  /** Watches under way, so that a closing server can end them. */
  active: Set<AbortController>;
}

/** Starts a watch for a list request with `watch=1` and sends it. @throws ApiError before anything was sent */
export async function startWatch(
  { operations, watch }: { operations: Operations; watch: WatchSettings },
  endpoint: Endpoint,
  narrowed: ListRequest,
  query: Record<string, string>,
  reply: FastifyReply,
  shape: () => Shape,
): Promise<FastifyReply> {
  const { timeoutSeconds, allowWatchBookmarks, sendInitialEvents } = query;
  if (timeoutSeconds !== undefined && timeoutSeconds !== '' && !/^\d+$/.test(timeoutSeconds))
    throw badRequest(`timeoutSeconds: Invalid value: ${JSON.stringify(timeoutSeconds)}: must be a number`);
  shape();
  const stop = new AbortController();
  const { limit: _, continue: __, ...watched } = narrowed;
  const events = operations.watch(endpoint, {
    ...watched,
    signal: stop.signal,
    bookmarks: isSet(allowWatchBookmarks),
    bookmarkIntervalMs: watch.bookmarkIntervalMs,
    ...(sendInitialEvents === undefined ? {} : { sendInitialEvents: isSet(sendInitialEvents) }),
  });
  const timeoutMs = Number(timeoutSeconds ?? 0) > 0 ? Number(timeoutSeconds) * 1000 : watch.defaultTimeoutMs();
  const timer = setTimeout(() => stop.abort(), Math.min(timeoutMs, 0x7fffffff));
  timer.unref();
  watch.active.add(stop);
  const response = reply.raw;
  for (const [name, value] of Object.entries(reply.getHeaders()))
    if (value !== undefined) response.setHeader(name, value);
  reply.hijack();
  try {
    await streamWatch(response, endpoint, events, stop, shape);
  } finally {
    clearTimeout(timer);
    watch.active.delete(stop);
  }
  return reply;
}
