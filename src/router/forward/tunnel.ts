import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Timeouts } from '../../config/index.ts';
import type { PodRecord } from '../table/index.ts';
import { type AsleepInbox, createByteInbox, createWebSocketInbox } from './asleep-inbox.ts';
import type { Line } from './lines.ts';
import { type BytePacer, createPacedStream } from './pacing.ts';
import { closeFrame, createFrameTracker } from './websocket-frames.ts';

/** What a tunnel is made of. */
export interface TunnelOptions {
  client: Duplex;
  upstream: Socket;
  /** What came with the handshake from the client, and is sent on already; and from the sandbox, and is not. */
  head: Buffer;
  first: Buffer;
  webSocket: boolean;
  timeouts: Timeouts;
  /** At whose pace bytes go, both ways; undefined for their own. */
  pacer: BytePacer | undefined;
  /** Data went through, in either direction; of a WebSocket data frames, as pings and pongs are nobody's use. */
  moved(): void;
  /** Data came for a sandbox that sleeps: wakes it for whoever opened the tunnel. Resolves with why not, or with nothing when it is awake. */
  wake(bytes: number, signal: AbortSignal): Promise<WakeRefusal | undefined>;
  /** Whether the handshake may be made again with another pod. */
  mayRedial(): boolean;
  /** Makes it; rejects where it does not come to the same. */
  redial(pod: PodRecord): Promise<{ upstream: Socket; first: Buffer }>;
  /** Both sides are done with it. Called once. */
  ended(): void;
}

/** Why data can't have its sandbox, as a WebSocket's client is told (RFC 6455 section 7.4). */
export interface WakeRefusal {
  closeCode: number;
  reason: string;
}

/** One open tunnel. */
export interface Tunnel extends Line {
  client: Duplex;
  /** Monotonic: when it was opened, and when something last went through. */
  openedAtMs: number;
  movedAtMs: number;
  timeouts: Timeouts;
  /** Whether it was told to close already. */
  leaving: boolean;
  /** Nothing goes to its sandbox now. */
  isHushed(): boolean;
  /** Ends both sides; a WebSocket's client gets a close frame where one may stand. */
  close(code: number, reason: string): void;
}

/** The rest of a frame may still be awaited then; the pod of any other code must not be heard any more. */
export const GOING_AWAY = 1001;
const RESTARTED = 1012;
/** Data that went to the sandbox so shortly before it was to be paused may not have been seen. */
const IN_FLIGHT_MS = 1000;
/** How long a client may take to close its side. */
const FAREWELL_MS = 1000;

/** Copies both ways with back-pressure and half-close; the end of either side by error ends both. While its sandbox sleeps, what the client sends waits. */
export function createTunnel(options: TunnelOptions): Tunnel {
  const { client, webSocket, pacer } = options;
  const frames = webSocket ? createFrameTracker() : undefined;
  const clientFrames = webSocket ? createFrameTracker() : undefined;
  const paced = pacer === undefined ? undefined : createPacedStream(pacer, Number.POSITIVE_INFINITY);
  /** Undefined while there is none to be had again. */
  let upstream: Socket | undefined;
  let farewell: Buffer | undefined;
  let pauses = 0;
  /** Takes what the client sends while nothing may go to the sandbox. */
  let inbox: AsleepInbox | undefined;
  let waking: AbortController | undefined;
  /** The client ended its side, or is gone. */
  let clientEnded = false;
  let clientGone = false;
  let over = false;
  (client as Socket).setNoDelay?.(true);
  (client as Socket).setTimeout?.(0);

  /** When data last went to the sandbox without anything having come back since; 0 for never. */
  let unansweredMs = 0;
  let hushedAtMs = 0;

  /** A ping tells that the other side lives, and of no use. */
  function moved(data: boolean): void {
    tunnel.movedAtMs = performance.now();
    if (data) options.moved();
  }

  function end(): void {
    if (over) return;
    over = true;
    waking?.abort();
    options.ended();
  }

  function toClient(chunk: Buffer): void {
    if (farewell !== undefined) {
      const at = frames?.boundaryIn(chunk) ?? -1;
      client.write(at < 0 ? chunk : chunk.subarray(0, at));
      if (at < 0) return;
      upstream?.destroy();
      leave(farewell);
      return;
    }
    const data = frames === undefined || frames.advance(chunk);
    moved(data);
    if (data) unansweredMs = 0;
    const full = !client.write(chunk);
    if (pacer !== undefined) pace(pacer, chunk.length, full);
    else if (full) {
      upstream?.pause();
      client.once('drain', () => upstream?.resume());
    }
  }

  /** Goes on when both the client has taken what it got and the pacer allows. */
  function pace(by: BytePacer, bytes: number, full: boolean): void {
    const waitMs = by.spend(bytes, performance.now());
    if (!full && waitMs <= 0) return;
    const go = () => {
      pauses--;
      if (pauses === 0) upstream?.resume();
    };
    upstream?.pause();
    if (full) {
      pauses++;
      client.once('drain', go);
    }
    if (waitMs > 0) {
      pauses++;
      setTimeout(go, waitMs).unref();
    }
  }

  function toSandbox(chunk: Buffer): void {
    const data = clientFrames === undefined || clientFrames.advance(chunk);
    moved(data);
    if (data) unansweredMs = tunnel.movedAtMs;
    const sink = paced ?? upstream;
    if (sink === undefined || sink.write(chunk)) return;
    client.pause();
    sink.once('drain', () => (waking === undefined ? client.resume() : undefined));
  }

  function fromClient(chunk: Buffer): void {
    if (tunnel.leaving) return;
    if (inbox === undefined) {
      toSandbox(chunk);
      return;
    }
    const arrived = inbox.take(chunk);
    if (arrived === 'data') wake(inbox);
    else if (arrived === 'farewell') client.end();
  }

  /** Stops reading: what came wakes the sandbox, and goes on when it is awake. */
  function wake(waiting: AsleepInbox): void {
    client.pause();
    if (waking !== undefined) return;
    const controller = new AbortController();
    waking = controller;
    moved(true);
    options.wake(waiting.sizeBytes(), controller.signal).then((refusal) => {
      if (refusal !== undefined && waking === controller && !over) tunnel.close(refusal.closeCode, refusal.reason);
    });
  }

  function follow(socket: Socket, first: Buffer): void {
    upstream = socket;
    socket.setNoDelay(true);
    paced?.pipe(socket);
    const current = (act: () => void) => () => (upstream === socket ? act() : undefined);
    if (first.length > 0) toClient(first);
    socket.on('data', toClient);
    socket.on(
      'end',
      current(() => (endsWithPod() ? undefined : client.end())),
    );
    socket.on(
      'error',
      current(() => (endsWithPod() ? undefined : client.destroy())),
    );
    socket.on(
      'close',
      current(() => {
        paced?.destroy();
        if (!client.writableEnded) client.destroy();
        if (clientGone) end();
      }),
    );
  }

  /** Whether the sandbox's side ends because of a pause: its process is stopped before its pod is gone, or the system gave it up while it slept. */
  function endsWithPod(): boolean {
    if (inbox === undefined || tunnel.leaving || !webSocket) return false;
    if (!forget()) tunnel.close(RESTARTED, 'the sandbox was restarted');
    return true;
  }

  /** Lets go of a connection in whose place another can be made, as its pod ends with the pause. */
  function forget(): boolean {
    const between = frames?.betweenMessages() === true && clientFrames?.betweenMessages() === true;
    const unsent = upstream !== undefined && upstream.writableLength > 0;
    if (inbox === undefined || !between || unsent || clientGone || clientEnded || tunnel.leaving) return false;
    if (!options.mayRedial()) return false;
    const old = upstream;
    upstream = undefined;
    if (old !== undefined) paced?.unpipe(old);
    old?.destroy();
    return true;
  }

  function leave(lastBytes: Buffer): void {
    client.end(lastBytes);
    // A client that does not close its side must not hold up a drain.
    setTimeout(() => client.destroy(), FAREWELL_MS).unref();
  }

  /** What waited goes on in its order, with what became of the client meanwhile. */
  function release(): void {
    const waited = inbox?.contents() ?? [];
    inbox = undefined;
    // Nobody waits any more, though the wake may not have heard yet: a pause that follows at once would be taken for its failure.
    waking?.abort();
    waking = undefined;
    if (!tunnel.leaving) for (const bytes of waited) toSandbox(bytes);
    const sink = paced ?? upstream;
    if (clientGone || clientEnded || tunnel.leaving) sink?.end();
    if (clientGone || tunnel.leaving) {
      setTimeout(() => upstream?.destroy(), FAREWELL_MS).unref();
      if (clientGone) end();
      return;
    }
    if (sink?.writableNeedDrain !== true) client.resume();
  }

  function answer(frame: Buffer): void {
    // Between the parts of a frame that the sandbox has not ended nothing may stand; nor may answers pile up before a client that reads none.
    if (frames?.atBoundary() !== false && !client.writableNeedDrain) client.write(frame);
  }

  const openedAtMs = performance.now();
  const tunnel: Tunnel = {
    client,
    openedAtMs,
    movedAtMs: openedAtMs,
    timeouts: options.timeouts,
    leaving: false,
    isHushed: () => inbox !== undefined,
    close: (code, reason) => {
      // Who is to go away may finish a frame; whose pod is gone may not, whatever was said before.
      if (tunnel.leaving && code === GOING_AWAY) return;
      tunnel.leaving = true;
      client.resume();
      if (frames === undefined) client.destroy();
      else if (frames.atBoundary()) {
        // A sandbox that sleeps hears of it when it is awake, if anybody will be here to tell it.
        if (inbox === undefined || code === GOING_AWAY) upstream?.destroy();
        leave(closeFrame(code, reason));
      } else if (code === GOING_AWAY && inbox === undefined) farewell = closeFrame(code, reason);
      else client.destroy();
    },
    count: () => (over ? 0 : 1),
    hush: () => {
      if (inbox === undefined) hushedAtMs = performance.now();
      inbox ??= webSocket ? createWebSocketInbox(clientFrames?.atBoundary() === false, answer) : createByteInbox();
    },
    sleep: (how) => {
      if (over || inbox === undefined) return false;
      if (how === 'redial') return forget();
      // What was on its way when the pause began is use that nobody knew of: it may wait in the snapshot, or on the way to it, for an answer. A part waits for its rest.
      const isUse =
        unansweredMs > 0 && hushedAtMs - unansweredMs < IN_FLIGHT_MS && clientFrames?.atBoundary() !== false;
      if (isUse || (upstream !== undefined && upstream.writableLength > 0)) wake(inbox);
      return true;
    },
    goOn: (pod) => {
      if (inbox === undefined) return;
      if (upstream !== undefined) {
        release();
        return;
      }
      options.redial(pod).then(
        ({ upstream: socket, first }) => {
          if (over || tunnel.leaving) {
            socket.destroy();
            return;
          }
          follow(socket, first);
          release();
        },
        () => tunnel.close(RESTARTED, 'the sandbox was restarted'),
      );
    },
    cut: () => {
      // No byte that waits in the system for the pod may reach whoever has its address next.
      upstream?.resetAndDestroy();
      tunnel.close(RESTARTED, 'the sandbox was restarted');
      if (clientGone) end();
    },
  };
  // It was sent on already, and a frame may have begun in it.
  if (options.head.length > 0) clientFrames?.advance(options.head);
  client.on('data', fromClient);
  client.on('end', () => {
    clientEnded = true;
    if (inbox === undefined) (paced ?? upstream)?.end();
    // A WebSocket that ends in silence has ended both ways.
    else if (webSocket) client.end();
  });
  client.on('error', () => client.destroy());
  client.on('close', () => {
    clientGone = true;
    if (inbox !== undefined && upstream !== undefined && !upstream.destroyed) {
      waking?.abort();
      return;
    }
    upstream?.destroy();
    end();
  });
  follow(options.upstream, options.first);
  return tunnel;
}
