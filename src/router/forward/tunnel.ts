import type { Socket } from 'node:net';
import type { Duplex, Transform } from 'node:stream';
import type { Timeouts } from '../../config/index.ts';
import type { PodRecord } from '../table/index.ts';
import { type AsleepInbox, createByteInbox, createWebSocketInbox } from './asleep-inbox.ts';
import type { Line, Sleep } from './lines.ts';
import { type BytePacer, createPacedStream } from './pacing.ts';
import { closeFrame, createFrameTracker, type FrameTracker } from './websocket-frames.ts';

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
  return new OpenTunnel(options);
}

/** A class, as there may be ten thousand of them, and a closure for everything that each can do would take kilobytes. */
class OpenTunnel implements Tunnel {
  readonly client: Duplex;
  readonly openedAtMs: number;
  movedAtMs: number;
  readonly timeouts: Timeouts;
  leaving = false;
  private readonly options: Omit<TunnelOptions, 'head' | 'first' | 'upstream'>;
  private readonly frames: FrameTracker | undefined;
  private readonly clientFrames: FrameTracker | undefined;
  private readonly paced: Transform | undefined;
  /** Undefined while there is none to be had again. */
  private upstream: Socket | undefined;
  private farewell: Buffer | undefined;
  private pauses = 0;
  /** Takes what the client sends while nothing may go to the sandbox. */
  private inbox: AsleepInbox | undefined;
  private waking: AbortController | undefined;
  /** The client ended its side, or is gone. */
  private clientEnded = false;
  private clientGone = false;
  private over = false;
  /** When data last went to the sandbox without anything having come back since; 0 for never. */
  private unansweredMs = 0;
  private hushedAtMs = 0;

  constructor({ head, first, upstream, ...options }: TunnelOptions) {
    const { client, webSocket, pacer } = options;
    this.client = client;
    this.timeouts = options.timeouts;
    this.options = options;
    this.openedAtMs = performance.now();
    this.movedAtMs = this.openedAtMs;
    this.frames = webSocket ? createFrameTracker() : undefined;
    this.clientFrames = webSocket ? createFrameTracker() : undefined;
    this.paced = pacer === undefined ? undefined : createPacedStream(pacer, Number.POSITIVE_INFINITY);
    (client as Socket).setNoDelay?.(true);
    (client as Socket).setTimeout?.(0);
    // It was sent on already, and a frame may have begun in it.
    if (head.length > 0) this.clientFrames?.advance(head);
    client.on('data', (chunk: Buffer) => this.fromClient(chunk));
    client.on('end', () => this.onClientEnd());
    client.on('error', () => client.destroy());
    client.on('close', () => this.onClientClose());
    this.follow(upstream, first);
  }

  isHushed(): boolean {
    return this.inbox !== undefined;
  }

  close(code: number, reason: string): void {
    const { client, frames, inbox } = this;
    // Who is to go away may finish a frame; whose pod is gone may not, whatever was said before.
    if (this.leaving && code === GOING_AWAY) return;
    this.leaving = true;
    client.resume();
    if (frames === undefined) client.destroy();
    else if (frames.atBoundary()) {
      // A sandbox that sleeps hears of it when it is awake, if anybody will be here to tell it.
      if (inbox === undefined || code === GOING_AWAY) this.upstream?.destroy();
      this.leave(closeFrame(code, reason));
    } else if (code === GOING_AWAY && inbox === undefined) this.farewell = closeFrame(code, reason);
    else client.destroy();
  }

  count(): number {
    return this.over ? 0 : 1;
  }

  hush(): void {
    if (this.inbox !== undefined) return;
    this.hushedAtMs = performance.now();
    this.inbox = this.options.webSocket
      ? createWebSocketInbox(this.clientFrames?.atBoundary() === false, (frame) => this.answer(frame))
      : createByteInbox();
  }

  sleep(how: Sleep): boolean {
    const { inbox, unansweredMs, clientFrames, upstream } = this;
    if (this.over || inbox === undefined) return false;
    if (how === 'redial') return this.forget();
    // What was on its way when the pause began is use that nobody knew of: it may wait in the snapshot, or on the way to it, for an answer. A part waits for its rest.
    const isUse =
      unansweredMs > 0 && this.hushedAtMs - unansweredMs < IN_FLIGHT_MS && clientFrames?.atBoundary() !== false;
    if (isUse || (upstream !== undefined && upstream.writableLength > 0)) this.wake(inbox);
    return true;
  }

  goOn(pod: PodRecord): void {
    if (this.inbox === undefined) return;
    if (this.upstream !== undefined) {
      this.release();
      return;
    }
    this.options.redial(pod).then(
      ({ upstream, first }) => {
        if (this.over || this.leaving) {
          upstream.destroy();
          return;
        }
        this.follow(upstream, first);
        this.release();
      },
      () => this.close(RESTARTED, 'the sandbox was restarted'),
    );
  }

  cut(): void {
    // No byte that waits in the system for the pod may reach whoever has its address next.
    this.upstream?.resetAndDestroy();
    this.close(RESTARTED, 'the sandbox was restarted');
    if (this.clientGone) this.end();
  }

  /** A ping tells that the other side lives, and of no use. */
  private moved(data: boolean): void {
    this.movedAtMs = performance.now();
    if (data) this.options.moved();
  }

  private end(): void {
    if (this.over) return;
    this.over = true;
    this.waking?.abort();
    this.options.ended();
  }

  private toClient(chunk: Buffer): void {
    const { client, frames, farewell } = this;
    if (farewell !== undefined) {
      const at = frames?.boundaryIn(chunk) ?? -1;
      client.write(at < 0 ? chunk : chunk.subarray(0, at));
      if (at < 0) return;
      this.upstream?.destroy();
      this.leave(farewell);
      return;
    }
    const data = frames === undefined || frames.advance(chunk);
    this.moved(data);
    if (data) this.unansweredMs = 0;
    const full = !client.write(chunk);
    const { pacer } = this.options;
    if (pacer !== undefined) this.pace(pacer, chunk.length, full);
    else if (full) {
      this.upstream?.pause();
      client.once('drain', () => this.upstream?.resume());
    }
  }

  /** Goes on when both the client has taken what it got and the pacer allows. */
  private pace(by: BytePacer, bytes: number, full: boolean): void {
    const waitMs = by.spend(bytes, performance.now());
    if (!full && waitMs <= 0) return;
    const go = () => {
      this.pauses--;
      if (this.pauses === 0) this.upstream?.resume();
    };
    this.upstream?.pause();
    if (full) {
      this.pauses++;
      this.client.once('drain', go);
    }
    if (waitMs > 0) {
      this.pauses++;
      setTimeout(go, waitMs).unref();
    }
  }

  private toSandbox(chunk: Buffer): void {
    const { client, clientFrames } = this;
    const data = clientFrames === undefined || clientFrames.advance(chunk);
    this.moved(data);
    if (data) this.unansweredMs = this.movedAtMs;
    const sink = this.paced ?? this.upstream;
    if (sink === undefined || sink.write(chunk)) return;
    client.pause();
    sink.once('drain', () => (this.waking === undefined ? client.resume() : undefined));
  }

  private fromClient(chunk: Buffer): void {
    if (this.leaving) return;
    const { inbox } = this;
    if (inbox === undefined) {
      this.toSandbox(chunk);
      return;
    }
    const arrived = inbox.take(chunk);
    if (arrived === 'data') this.wake(inbox);
    else if (arrived === 'farewell') this.client.end();
  }

  /** Stops reading: what came wakes the sandbox, and goes on when it is awake. */
  private wake(waiting: AsleepInbox): void {
    this.client.pause();
    if (this.waking !== undefined) return;
    const controller = new AbortController();
    this.waking = controller;
    this.moved(true);
    this.options.wake(waiting.sizeBytes(), controller.signal).then((refusal) => {
      if (refusal !== undefined && this.waking === controller && !this.over)
        this.close(refusal.closeCode, refusal.reason);
    });
  }

  private follow(socket: Socket, first: Buffer): void {
    const { client, paced } = this;
    this.upstream = socket;
    socket.setNoDelay(true);
    paced?.pipe(socket);
    if (first.length > 0) this.toClient(first);
    socket.on('data', (chunk: Buffer) => this.toClient(chunk));
    // Of one that was let go of nothing matters any more.
    socket.on('end', () => {
      if (this.upstream === socket && !this.endsWithPod()) client.end();
    });
    socket.on('error', () => {
      if (this.upstream === socket && !this.endsWithPod()) client.destroy();
    });
    socket.on('close', () => {
      if (this.upstream !== socket) return;
      paced?.destroy();
      if (!client.writableEnded) client.destroy();
      if (this.clientGone) this.end();
    });
  }

  /** Whether the sandbox's side ends because of a pause: its process is stopped before its pod is gone, or the system gave it up while it slept. */
  private endsWithPod(): boolean {
    if (this.inbox === undefined || this.leaving || !this.options.webSocket) return false;
    if (!this.forget()) this.close(RESTARTED, 'the sandbox was restarted');
    return true;
  }

  /** Lets go of a connection in whose place another can be made, as its pod ends with the pause. */
  private forget(): boolean {
    const { upstream, inbox } = this;
    const between = this.frames?.betweenMessages() === true && this.clientFrames?.betweenMessages() === true;
    const unsent = upstream !== undefined && upstream.writableLength > 0;
    if (inbox === undefined || !between || unsent || this.clientGone || this.clientEnded || this.leaving) return false;
    if (!this.options.mayRedial()) return false;
    this.upstream = undefined;
    if (upstream !== undefined) this.paced?.unpipe(upstream);
    upstream?.destroy();
    return true;
  }

  private leave(lastBytes: Buffer): void {
    const { client } = this;
    client.end(lastBytes);
    // A client that does not close its side must not hold up a drain.
    setTimeout(() => client.destroy(), FAREWELL_MS).unref();
  }

  /** What waited goes on in its order, with what became of the client meanwhile. */
  private release(): void {
    const waited = this.inbox?.contents() ?? [];
    this.inbox = undefined;
    // Nobody waits any more, though the wake may not have heard yet: a pause that follows at once would be taken for its failure.
    this.waking?.abort();
    this.waking = undefined;
    if (!this.leaving) for (const bytes of waited) this.toSandbox(bytes);
    const sink = this.paced ?? this.upstream;
    if (this.clientGone || this.clientEnded || this.leaving) sink?.end();
    if (this.clientGone || this.leaving) {
      setTimeout(() => this.upstream?.destroy(), FAREWELL_MS).unref();
      if (this.clientGone) this.end();
      return;
    }
    if (sink?.writableNeedDrain !== true) this.client.resume();
  }

  private answer(frame: Buffer): void {
    // Between the parts of a frame that the sandbox has not ended nothing may stand; nor may answers pile up before a client that reads none.
    if (this.frames?.atBoundary() !== false && !this.client.writableNeedDrain) this.client.write(frame);
  }

  private onClientEnd(): void {
    this.clientEnded = true;
    if (this.inbox === undefined) (this.paced ?? this.upstream)?.end();
    // A WebSocket that ends in silence has ended both ways.
    else if (this.options.webSocket) this.client.end();
  }

  private onClientClose(): void {
    this.clientGone = true;
    const { upstream } = this;
    if (this.inbox !== undefined && upstream !== undefined && !upstream.destroyed) {
      this.waking?.abort();
      return;
    }
    upstream?.destroy();
    this.end();
  }
}
