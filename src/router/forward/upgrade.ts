import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Timeouts } from '../../config/index.ts';
import type { PodRecord } from '../table/index.ts';
import type { UpstreamFailure } from './http.ts';
import { type BytePacer, createPacedStream } from './pacing.ts';
import { keepCookie, type RewriteContext, responseHeaders } from './response-headers.ts';
import { closeFrame, createFrameTracker } from './websocket-frames.ts';

/** A request that asks for another protocol (WebSocket or any other), ready to go to a pod. */
export interface UpgradeRequest {
  request: IncomingMessage;
  socket: Duplex;
  /** What the client sent after its request already. */
  head: Buffer;
  pod: PodRecord;
  port: number;
  path: string;
  headers: string[];
  rewrite: RewriteContext;
  timeouts: Timeouts;
  /** At whose pace bytes go, both ways; undefined for their own. */
  pacer: BytePacer | undefined;
  /** Data went through, in either direction; of a WebSocket data frames, as pings and pongs are nobody's use. */
  moved(): void;
  done(status: number, failure: UpstreamFailure | undefined): void;
}

/** Open tunnels, so that those of a pod can be cut and all of them be drained. */
export interface Tunnels {
  open(upgrade: UpgradeRequest): void;
  /** The pod is not the sandbox's any more: no byte goes there from now on. WebSocket clients are told 1012 (service restart). */
  closePod(uid: string): void;
  count(): number;
  /** This router ends: WebSocket clients are told 1001 (going away) between two frames, others lose their connection. */
  closeAll(): void;
  /** Cuts what is still open. */
  destroyAll(): void;
}

/** One open tunnel. */
interface Tunnel {
  client: Duplex;
  /** Monotonic: when it was opened, and when something last went through. */
  openedAtMs: number;
  movedAtMs: number;
  timeouts: Timeouts;
  /** Whether it was told to close already. */
  leaving: boolean;
  /** Ends both sides; a WebSocket's client gets a close frame where one may stand. */
  close(code: number, reason: string): void;
}

/** The rest of a frame may still be awaited then; the pod of any other code must not be heard any more. */
const GOING_AWAY = 1001;
/** Resolution of idle time and age. */
const WATCH_MS = 1000;
/** How long a client may take to close its side. */
const FAREWELL_MS = 1000;

/**
 * Tunnels: only a true 101 opens one; its headers and everything after it go through byte for byte. Any other answer is passed on as the HTTP answer it is.
 * Written on node:http rather than http-proxy-3, which normalises `//` in paths, rebuilds headers from their parsed form and knows WebSocket alone.
 */
export function createTunnels(): Tunnels {
  const byPod = new Map<string, Set<Tunnel>>();
  let count = 0;
  /** Bounds of time are looked at together: a timer for each of ten thousand sockets would cost more. Runs while there are tunnels. */
  let watch: NodeJS.Timeout | undefined;

  function endOverdue(): void {
    const nowMs = performance.now();
    for (const tunnels of byPod.values())
      for (const tunnel of tunnels) {
        const { webSocketIdleMs, webSocketMaxAgeMs } = tunnel.timeouts;
        const tooOld = webSocketMaxAgeMs > 0 && nowMs - tunnel.openedAtMs >= webSocketMaxAgeMs;
        const tooIdle = webSocketIdleMs > 0 && nowMs - tunnel.movedAtMs >= webSocketIdleMs;
        // The rest of a frame that it waited for may never come.
        if ((tooOld || tooIdle) && tunnel.leaving) tunnel.client.destroy();
        else if (tooOld) tunnel.close(GOING_AWAY, 'it was open for as long as it may be');
        else if (tooIdle) tunnel.close(GOING_AWAY, 'nothing went through for too long');
      }
  }

  function track(uid: string, tunnel: Tunnel): void {
    const tunnels = byPod.get(uid) ?? new Set();
    byPod.set(uid, tunnels.add(tunnel));
    count++;
    watch ??= setInterval(endOverdue, WATCH_MS);
    tunnel.client.once('close', () => {
      count--;
      if (count === 0) {
        clearInterval(watch);
        watch = undefined;
      }
      tunnels.delete(tunnel);
      if (tunnels.size === 0 && byPod.get(uid) === tunnels) byPod.delete(uid);
    });
  }

  return {
    open: (upgrade) => open(upgrade, track),
    closePod: (uid) => {
      for (const tunnel of byPod.get(uid) ?? []) tunnel.close(1012, 'the sandbox was restarted');
    },
    count: () => count,
    closeAll: () => {
      for (const tunnels of byPod.values())
        for (const tunnel of tunnels) tunnel.close(GOING_AWAY, 'the router is going away');
    },
    destroyAll: () => {
      for (const tunnels of byPod.values()) for (const { client } of tunnels) client.destroy();
    },
  };
}

function open(upgrade: UpgradeRequest, track: (uid: string, tunnel: Tunnel) => void): void {
  const { socket, pod, port, request } = upgrade;
  let settled = false;
  const settle = (status: number, failure?: UpstreamFailure) => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    upgrade.done(status, failure);
  };
  const upstream: ClientRequest = httpRequest({
    host: pod.address,
    port,
    path: upgrade.path,
    method: request.method ?? 'GET',
    headers: upgrade.headers,
    agent: false,
    // Half of a tunnel may end before the other.
    createConnection: () => connect({ host: pod.address, port, allowHalfOpen: true }),
    timeout: upgrade.timeouts.connectMs,
    setHost: false,
  });
  const { responseHeaderMs } = upgrade.timeouts;
  const timer = responseHeaderMs === 0 ? undefined : setTimeout(outOfTime, responseHeaderMs);
  function outOfTime(): void {
    upstream.destroy();
    settle(504, {
      code: 'upstream_timeout',
      detail: 'The sandbox did not answer the upgrade in time.',
      answered: false,
    });
  }
  const clientLeft = () => {
    upstream.destroy();
    settle(499);
  };
  socket.once('close', clientLeft);
  socket.on('error', clientLeft);
  upstream.on('upgrade', (response, upstreamSocket: Socket, upstreamHead: Buffer) => {
    socket.off('close', clientLeft);
    upstreamSocket.setTimeout(0);
    if (!wasOffered(response.headers.upgrade, request.headers.upgrade)) {
      upstreamSocket.destroy();
      settle(502, {
        code: 'upstream_invalid',
        detail: 'The sandbox switched to a protocol that nobody asked for.',
        answered: false,
      });
      return;
    }
    socket.write(switchingHead(response, upgrade.rewrite), 'latin1');
    if (upgrade.head.length > 0) upstreamSocket.write(upgrade.head);
    const webSocket = /^websocket$/i.test(request.headers.upgrade ?? '');
    track(pod.uid, splice(socket, upstreamSocket, upstreamHead, webSocket, upgrade));
    settle(101);
  });
  upstream.on('response', (response) => {
    socket.off('close', clientLeft);
    socket.once('close', () => upstream.destroy());
    const raw = response.rawHeaders.map((text) => Buffer.from(text, 'latin1'));
    const headers = [...responseHeaders(raw, upgrade.rewrite), 'connection', 'close'];
    socket.write(headOf(response, headers), 'latin1');
    // It ends with the connection; one that breaks off must not look like a whole one.
    response.once('error', () => reset(socket));
    response.pipe(socket);
    settle(response.statusCode ?? 502);
  });
  upstream.on('error', (error: NodeJS.ErrnoException) => {
    settle(502, { ...describe(error), answered: settled });
  });
  upstream.on('timeout', () => {
    if (upstream.socket?.connecting === true)
      upstream.destroy(Object.assign(new Error('connect timeout'), { syscall: 'connect' }));
  });
  upstream.end();
}

/** Copies both ways with back-pressure and half-close; the end of either side by error ends both. `first` came with the 101 already. */
function splice(
  client: Duplex,
  upstream: Socket,
  first: Buffer,
  webSocket: boolean,
  { moved: report, pacer, head, timeouts }: Pick<UpgradeRequest, 'moved' | 'pacer' | 'head' | 'timeouts'>,
): Tunnel {
  const frames = webSocket ? createFrameTracker() : undefined;
  const clientFrames = webSocket ? createFrameTracker() : undefined;
  let farewell: Buffer | undefined;
  let pauses = 0;
  const paced = pacer === undefined ? undefined : createPacedStream(pacer, Number.POSITIVE_INFINITY);
  (client as Socket).setNoDelay?.(true);
  (client as Socket).setTimeout?.(0);
  upstream.setNoDelay(true);

  /** A ping tells that the other side lives, and of no use. */
  function moved(data: boolean): void {
    tunnel.movedAtMs = performance.now();
    if (data) report();
  }

  function toClient(chunk: Buffer): void {
    if (farewell !== undefined) {
      const end = frames?.boundaryIn(chunk) ?? -1;
      client.write(end < 0 ? chunk : chunk.subarray(0, end));
      if (end >= 0) leave(farewell);
      return;
    }
    moved(frames === undefined || frames.advance(chunk));
    const full = !client.write(chunk);
    if (pacer !== undefined) pace(pacer, chunk.length, full);
    else if (full) {
      upstream.pause();
      client.once('drain', () => upstream.resume());
    }
  }

  /** Goes on when both the client has taken what it got and the pacer allows. */
  function pace(by: BytePacer, bytes: number, full: boolean): void {
    const waitMs = by.spend(bytes, performance.now());
    if (!full && waitMs <= 0) return;
    const go = () => {
      pauses--;
      if (pauses === 0) upstream.resume();
    };
    upstream.pause();
    if (full) {
      pauses++;
      client.once('drain', go);
    }
    if (waitMs > 0) {
      pauses++;
      setTimeout(go, waitMs).unref();
    }
  }

  function leave(lastBytes: Buffer): void {
    upstream.destroy();
    client.end(lastBytes);
    // A client that does not close its side must not hold up a drain.
    setTimeout(() => client.destroy(), FAREWELL_MS).unref();
  }

  const openedAtMs = performance.now();
  const tunnel: Tunnel = {
    client,
    openedAtMs,
    movedAtMs: openedAtMs,
    timeouts,
    leaving: false,
    close: (code, reason) => {
      // Who is to go away may finish a frame; whose pod is gone may not, whatever was said before.
      if (tunnel.leaving && code === GOING_AWAY) return;
      tunnel.leaving = true;
      client.unpipe(paced ?? upstream);
      client.resume();
      if (frames === undefined) client.destroy();
      else if (frames.atBoundary()) leave(closeFrame(code, reason));
      else if (code === GOING_AWAY) farewell = closeFrame(code, reason);
      else client.destroy();
    },
  };
  // It was sent on already, and a frame may have begun in it.
  if (head.length > 0) clientFrames?.advance(head);
  client.on('data', (chunk: Buffer) => {
    moved(clientFrames === undefined || clientFrames.advance(chunk));
  });
  if (paced !== undefined) paced.pipe(upstream);
  client.pipe(paced ?? upstream);
  if (first.length > 0) toClient(first);
  upstream.on('data', toClient);
  upstream.on('end', () => client.end());
  client.on('error', () => upstream.destroy());
  upstream.on('error', () => client.destroy());
  client.on('close', () => upstream.destroy());
  upstream.on('close', () => paced?.destroy());
  upstream.on('close', () => (client.writableEnded ? undefined : client.destroy()));
  return tunnel;
}

/** Head of a 101: hop-by-hop headers stay, as they are about the tunnel. */
function switchingHead(response: IncomingMessage, rewrite: RewriteContext): string {
  const headers: string[] = [];
  for (let index = 0; index < response.rawHeaders.length; index += 2) {
    const name = response.rawHeaders[index] as string;
    const sent = response.rawHeaders[index + 1] as string;
    const value = name.toLowerCase() === 'set-cookie' ? keepCookie(sent, rewrite) : sent;
    if (value !== undefined) headers.push(name, value);
  }
  return headOf(response, headers);
}

/** Status line and headers of an answer in HTTP/1.1; a character is a byte (latin1). */
function headOf({ statusCode, statusMessage = '' }: IncomingMessage, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${statusCode} ${statusMessage}\r\n`;
  for (let index = 0; index < headers.length; index += 2) text += `${headers[index]}: ${headers[index + 1]}\r\n`;
  return `${text}\r\n`;
}

/** RFC 9110 section 7.8: a server may switch to what the client offered alone. A version is part of the name. */
function wasOffered(chosen: string | undefined, offered: string | undefined): boolean {
  const names = (list = '') => list.split(',').map((name) => name.trim().toLowerCase());
  const [first = ''] = names(chosen);
  return first !== '' && names(offered).includes(first);
}

function describe(error: NodeJS.ErrnoException): Pick<UpstreamFailure, 'code' | 'detail'> {
  if (error.syscall === 'connect') return { code: 'upstream_refused', detail: 'The sandbox refused the connection.' };
  if (error.code?.startsWith('HPE_') === true)
    return { code: 'upstream_invalid', detail: 'The sandbox did not answer in HTTP.' };
  return { code: 'upstream_reset', detail: 'The sandbox broke the connection during the upgrade.' };
}

/** Ends a connection so that its other side sees that something is missing. */
function reset(socket: Duplex): void {
  if ('resetAndDestroy' in socket) (socket as Socket).resetAndDestroy();
  else socket.destroy();
}
