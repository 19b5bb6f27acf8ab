import { maySee, type Principal } from '../identity/index.ts';
import type { EventLog, SandboxEvent } from './event-log.ts';

/** Somebody who follows events: how they are written, and what is still to be written. */
export interface EventSink {
  send(event: SandboxEvent): void;
  /** The events since the id that it had can't be told: what it knows must be read anew. */
  reset(latestId: string): void;
  /** A sign of life. */
  beat(): void;
  /** Bytes that wait for it. */
  backlogBytes(): number;
  end(reason: StreamEnd): void;
}

/** Why a stream was ended, with the close code that a WebSocket gets (RFC 6455 section 7.4). */
export const STREAM_ENDS = {
  going_away: { webSocketCode: 1001, detail: 'The router is going away: connect anew.' },
  credential_ended: { webSocketCode: 1008, detail: 'The credential is not valid any more, or not for this.' },
  too_slow: { webSocketCode: 1013, detail: 'Events were not read fast enough: read the lists anew.' },
} as const;

/** Name of one of {@link STREAM_ENDS}. */
export type StreamEnd = keyof typeof STREAM_ENDS;

/** What a stream is made of. */
export interface EventStreamOptions {
  log: EventLog;
  sink: EventSink;
  principal: Principal;
  /** Only this namespace; all that the caller has without it. */
  namespace: string | undefined;
  lastEventId: string | undefined;
  /** Who the caller is now. @throws whoever is none any more */
  again(): Promise<Principal>;
}

/** More than this unread is too slow. */
const MOST_BACKLOG_BYTES = 1_048_576;
/** More events than this waiting for the cluster's word on them is too slow, too. */
const MOST_UNDECIDED = 1000;
const BEAT_MS = 10_000;

/** Sends a caller the events of its sandboxes until it leaves, is too slow, or its credential ends; returns what ends it. */
export function followEvents({ log, sink, namespace, lastEventId, again, ...options }: EventStreamOptions): {
  end(reason: StreamEnd): void;
  left(): void;
} {
  let { principal } = options;
  let undecided = 0;
  let order = Promise.resolve();
  let ended = false;

  function stop(): void {
    ended = true;
    clearInterval(timer);
    unsubscribe();
  }

  function end(reason: StreamEnd): void {
    if (ended) return;
    stop();
    sink.end(reason);
  }

  function deliver(event: SandboxEvent): void {
    if (ended) return;
    if (sink.backlogBytes() > MOST_BACKLOG_BYTES) end('too_slow');
    else sink.send(event);
  }

  function offer(event: SandboxEvent): void {
    if (namespace !== undefined && event.namespace !== namespace) return;
    const name = { namespace: event.namespace, name: event.sandbox };
    if (!maySee(principal, name)) return;
    const { mayProxy } = principal;
    if (mayProxy === undefined) {
      deliver(event);
      return;
    }
    if (undecided >= MOST_UNDECIDED) {
      end('too_slow');
      return;
    }
    // One after the other: the order of events is part of what they say.
    undecided++;
    order = order.then(async () => {
      try {
        if (await mayProxy(name)) deliver(event);
      } catch {
        // Without the cluster's word nobody is told anything.
      }
      undecided--;
    });
  }

  const timer = setInterval(() => {
    if (sink.backlogBytes() > MOST_BACKLOG_BYTES) end('too_slow');
    else
      again().then(
        (now) => {
          if (ended) return;
          principal = now;
          sink.beat();
        },
        () => end('credential_ended'),
      );
  }, BEAT_MS);
  timer.unref();
  const unsubscribe = log.subscribe(offer);
  const missed = lastEventId === undefined ? [] : log.since(lastEventId);
  if (missed === undefined) sink.reset(log.latestId());
  else for (const event of missed) offer(event);
  return { end, left: () => (ended ? undefined : stop()) };
}
