import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import type { Socket } from 'node:net';

/** Requests on one connection where its server does not say how many it takes, and at most. */
const STREAMS_BY_DEFAULT = 100;
/** Connections to one port of a pod. */
const MOST_SESSIONS = 32;
/** A connection without a request is closed after this time. */
const IDLE_MS = 30_000;
/** What one answer may have on its way before somebody takes it, and all of a connection. */
const STREAM_WINDOW_BYTES = 262_144;
const CONNECTION_WINDOW_BYTES = 1_048_576;
/** Of everything that waits on one connection, in megabytes: as much as its streams' windows can hold. */
const SESSION_MEMORY_MB = 64;
const MAX_HEADER_BYTES = 65_536;
const MAX_HEADER_PAIRS = 1000;

/** A connection to a sandbox, and how much of it is in use. */
export interface UpstreamSession {
  session: ClientHttp2Session;
  streams: number;
  /** Requests that it has carried so far. */
  carried: number;
  /** Resolves when it is connected; undefined once it is. */
  connecting: Promise<void> | undefined;
}

/** Connections of HTTP/2 to one port of one pod. */
export interface UpstreamSessions {
  /** One with room for another request; a new one if there is none. */
  take(): UpstreamSession;
  /** No more requests; resolves when those under way have ended, each in its own time. */
  close(): Promise<void>;
  /** Requests under way. */
  running(): number;
  destroy(error: Error): void;
}

/** Sessions that are made as they are needed. `dial` resolves with what to speak HTTP/2 on. */
export function createUpstreamSessions(dial: () => Promise<Socket>): UpstreamSessions {
  const sessions = new Set<UpstreamSession>();
  let gone: Error | undefined;
  let closing = false;

  function open(): UpstreamSession {
    const opened = { streams: 0, carried: 0 } as UpstreamSession;
    sessions.add(opened);
    opened.connecting = dial().then(
      (socket) => {
        if (gone !== undefined) {
          socket.destroy();
          throw gone;
        }
        begin(opened, socket);
      },
      (error) => {
        sessions.delete(opened);
        throw error;
      },
    );
    opened.connecting.catch(() => {});
    return opened;
  }

  function begin(opened: UpstreamSession, socket: Socket): void {
    const session = connectHttp2('http://sandbox', {
      createConnection: () => socket,
      settings: {
        enablePush: false,
        initialWindowSize: STREAM_WINDOW_BYTES,
        maxHeaderListSize: MAX_HEADER_BYTES,
      },
      maxHeaderListPairs: MAX_HEADER_PAIRS,
      maxSessionMemory: SESSION_MEMORY_MB,
      peerMaxConcurrentStreams: STREAMS_BY_DEFAULT,
      strictSingleValueFields: false,
    } as object);
    opened.session = session;
    opened.connecting = undefined;
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    // Its streams tell.
    session.on('error', () => {});
    session.on('goaway', () => sessions.delete(opened));
    session.on('close', () => sessions.delete(opened));
    session.setTimeout(IDLE_MS, () => (opened.streams === 0 ? session.close() : undefined));
  }

  const room = ({ session, connecting }: UpstreamSession) =>
    connecting === undefined
      ? Math.min(session.remoteSettings?.maxConcurrentStreams ?? STREAMS_BY_DEFAULT, STREAMS_BY_DEFAULT)
      : STREAMS_BY_DEFAULT;
  const usable = ({ session, connecting }: UpstreamSession) =>
    connecting !== undefined || !(session.closed || session.destroyed);

  return {
    take: () => {
      if (gone !== undefined) throw gone;
      if (closing) throw new Error('these connections take no more requests');
      let least: UpstreamSession | undefined;
      for (const each of sessions) {
        if (!usable(each)) continue;
        if (each.streams < room(each)) return each;
        if (least === undefined || each.streams < least.streams) least = each;
      }
      return least === undefined || sessions.size < MOST_SESSIONS ? open() : least;
    },
    close: async () => {
      closing = true;
      await Promise.all([...sessions].map(ending));
    },
    running: () => {
      let running = 0;
      for (const { streams } of sessions) running += streams;
      return running;
    },
    destroy: (error) => {
      gone = error;
      for (const { session } of sessions) session?.destroy(error, constants.NGHTTP2_CANCEL);
      sessions.clear();
    },
  };
}

/** Closes a session when what is under way on it has ended. One that is being dialled has its requests yet to come: it ends by being idle. */
async function ending({ session }: UpstreamSession): Promise<void> {
  if (session === undefined || session.destroyed) return;
  const closed = once(session, 'close');
  session.close();
  await closed;
}
