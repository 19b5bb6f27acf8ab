import type { Server } from 'node:http';
import { constants, createServer, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Http2Settings } from '../../config/index.ts';
import { type TokenBucket, takeToken } from '../policy/index.ts';
import { acceptHttp2 } from './accept.ts';
import { EdgeRequest } from './request.ts';
import { EdgeResponse } from './response.ts';
import { rememberSocket } from './sockets.ts';

/** HTTP/2 on the port of a server of HTTP/1.1. */
export interface Http2Edge {
  /** Emits what that server does for ordinary requests (`request`, `checkContinue`), and `connect`. It listens nowhere. */
  server: Http2Server;
  /** Tells clients to open no more streams here; those that are on their way are still answered (RFC 9113 section 6.8). */
  drain(): void;
  /** Takes no more streams: each connection ends with the last of its own. */
  close(): void;
  /** Cuts what is still open. */
  destroyAll(): void;
  connectionCount(): number;
}

/** What the edge is made with. */
export interface Http2EdgeOptions extends Http2Settings {
  /** Whether the connections are of TLS. */
  tls: boolean;
  maxHeaderBytes: number;
  /** How long a connection may say nothing at its beginning. */
  silenceMs: number;
  /** How long one may be without a stream. */
  idleMs: number;
  /** Told of each connection that was ended for what its client did. */
  abused(reason: Http2Abuse): void;
}

/** `control_flood`: more pings and settings than a client has use for. `protocol`: what HTTP/2 forbids, or more resets, frames or memory than are allowed. */
export type Http2Abuse = 'control_flood' | 'protocol';

const LAST_STREAM_ID = 2 ** 31 - 1;

/** Adds HTTP/2 to a server that does not listen yet. */
export function createHttp2Edge(http1: Server, options: Http2EdgeOptions): Http2Edge {
  const sessions = new Set<ServerHttp2Session>();
  let draining = false;
  let arriving: Socket | undefined;
  const server = createServer({
    Http2ServerRequest: EdgeRequest as never,
    Http2ServerResponse: EdgeResponse as never,
    settings: {
      maxConcurrentStreams: options.maxStreams,
      maxHeaderListSize: options.maxHeaderBytes,
      enableConnectProtocol: true,
    },
    maxHeaderListPairs: options.maxHeaders,
    maxSessionMemory: Math.ceil(options.maxConnectionBytes / 1_000_000),
    streamResetBurst: options.resetBurst,
    streamResetRate: options.resetsPerSecond,
    // A router passes on what it gets.
    strictSingleValueFields: false,
  } as object);

  server.on('session', (session) => {
    if (arriving !== undefined) rememberSocket(session, arriving);
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    boundControlFrames(session, options, () => {
      options.abused('control_flood');
      session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
      session.destroy();
    });
    closeWhenIdle(session, options.idleMs);
    if (draining) session.goaway(constants.NGHTTP2_NO_ERROR, LAST_STREAM_ID);
  });
  server.on('sessionError', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') options.abused('protocol');
  });
  const undecided = acceptHttp2(
    http1,
    options.tls,
    (socket) => {
      arriving = socket;
      server.emit('connection', socket);
      arriving = undefined;
    },
    options.silenceMs,
  );

  return {
    server,
    drain: () => {
      draining = true;
      for (const session of sessions)
        if (!session.destroyed) session.goaway(constants.NGHTTP2_NO_ERROR, LAST_STREAM_ID);
    },
    close: () => {
      undecided.settle();
      for (const session of sessions) session.close();
    },
    destroyAll: () => {
      for (const session of sessions) session.destroy();
    },
    connectionCount: () => sessions.size,
  };
}

/** Pings and settings cost an answer each, and belong to no stream that could be bounded. */
function boundControlFrames(
  session: ServerHttp2Session,
  { controlBurst, controlPerSecond }: Http2Settings,
  flooded: () => void,
): void {
  const bucket: TokenBucket = { fullAtMs: 0 };
  const rate = { perSecond: controlPerSecond, burst: controlBurst };
  const count = () => (takeToken(bucket, rate, performance.now()) > 0 ? flooded() : undefined);
  session.on('ping', count);
  session.on('remoteSettings', count);
}

/** A connection that waits for an answer is not idle, however quiet. */
function closeWhenIdle(session: ServerHttp2Session, idleMs: number): void {
  let streams = 0;
  session.on('stream', (stream) => {
    if (stream.destroyed) return;
    streams++;
    stream.once('close', () => streams--);
  });
  session.setTimeout(idleMs, () => (streams === 0 ? session.close() : undefined));
}
