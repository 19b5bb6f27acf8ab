import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { PodRecord } from '../table/index.ts';
import type { UpstreamFailure } from './http.ts';

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
  connectTimeoutMs: number;
  handshakeTimeoutMs: number;
  done(status: number, failure: UpstreamFailure | undefined): void;
}

/** Open tunnels, so that those of a pod can be cut and all of them be drained. */
export interface Tunnels {
  open(upgrade: UpgradeRequest): void;
  closePod(uid: string): void;
  count(): number;
  closeAll(): void;
}

/**
 * Tunnels: only a true 101 opens one; its headers and everything after it go through byte for byte. Any other answer is passed on as the HTTP answer it is.
 * Written on node:http rather than http-proxy-3, which normalises `//` in paths, rebuilds headers from their parsed form and knows WebSocket alone.
 */
export function createTunnels(): Tunnels {
  const byPod = new Map<string, Set<Duplex>>();
  let count = 0;

  function track(uid: string, socket: Duplex): void {
    const sockets = byPod.get(uid) ?? new Set();
    byPod.set(uid, sockets.add(socket));
    count++;
    socket.once('close', () => {
      count--;
      sockets.delete(socket);
      if (sockets.size === 0 && byPod.get(uid) === sockets) byPod.delete(uid);
    });
  }

  return {
    open: (upgrade) => open(upgrade, track),
    closePod: (uid) => {
      for (const socket of byPod.get(uid) ?? []) socket.destroy();
    },
    count: () => count,
    closeAll: () => {
      for (const sockets of byPod.values()) for (const socket of sockets) socket.destroy();
    },
  };
}

function open(upgrade: UpgradeRequest, track: (uid: string, socket: Duplex) => void): void {
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
    timeout: upgrade.connectTimeoutMs,
    setHost: false,
  });
  const timer = setTimeout(() => {
    upstream.destroy();
    settle(504, {
      code: 'upstream_timeout',
      detail: 'The sandbox did not answer the upgrade in time.',
      answered: false,
    });
  }, upgrade.handshakeTimeoutMs);
  const clientLeft = () => {
    upstream.destroy();
    settle(499);
  };
  socket.once('close', clientLeft);
  socket.on('error', clientLeft);
  upstream.on('upgrade', (response, upstreamSocket: Socket, upstreamHead: Buffer) => {
    socket.off('close', clientLeft);
    upstreamSocket.setTimeout(0);
    socket.write(statusLine(response));
    if (upstreamHead.length > 0) socket.write(upstreamHead);
    if (upgrade.head.length > 0) upstreamSocket.write(upgrade.head);
    track(pod.uid, socket);
    splice(socket, upstreamSocket);
    settle(101);
  });
  upstream.on('response', (response) => {
    socket.off('close', clientLeft);
    socket.write(statusLine(response, 'connection: close\r\n'));
    response.pipe(socket);
    settle(response.statusCode ?? 502);
  });
  upstream.on('error', (error: NodeJS.ErrnoException) => {
    const refused = error.syscall === 'connect';
    const detail = refused
      ? 'The sandbox refused the connection.'
      : 'The sandbox broke the connection during the upgrade.';
    settle(502, { code: refused ? 'upstream_refused' : 'upstream_reset', detail, answered: settled });
  });
  upstream.on('timeout', () => {
    if (upstream.socket?.connecting === true)
      upstream.destroy(Object.assign(new Error('connect timeout'), { syscall: 'connect' }));
  });
  upstream.end();
}

/** Copies both ways with back-pressure and half-close; the end of either side by error ends both. */
function splice(client: Duplex, upstream: Socket): void {
  (client as Socket).setNoDelay?.(true);
  (client as Socket).setTimeout?.(0);
  upstream.setNoDelay(true);
  client.pipe(upstream);
  upstream.pipe(client);
  client.on('error', () => upstream.destroy());
  upstream.on('error', () => client.destroy());
  client.on('close', () => upstream.destroy());
  upstream.on('close', () => client.destroy());
}

/** Status line and raw headers of an answer, as bytes of HTTP/1.1. Hop-by-hop ones stay with a 101: they are about the tunnel. */
function statusLine(response: IncomingMessage, closing = ''): string {
  let text = `HTTP/1.1 ${response.statusCode} ${response.statusMessage ?? ''}\r\n`;
  for (let index = 0; index < response.rawHeaders.length; index += 2) {
    const name = response.rawHeaders[index] as string;
    const hop = closing !== '' && /^(connection|keep-alive|transfer-encoding)$/i.test(name);
    if (!hop) text += `${name}: ${response.rawHeaders[index + 1]}\r\n`;
  }
  return `${text}${closing}\r\n`;
}
