import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Timeouts } from '../../config/index.ts';
import { type PodRecord, protocolOf, type Route } from '../table/index.ts';
import type { UpstreamFailure } from './http.ts';
import type { BytePacer } from './pacing.ts';
import { keepCookie, type RewriteContext, responseHeaders } from './response-headers.ts';
import { dialSandbox, type SandboxTls, tlsFailure } from './sandbox-tls.ts';
import { createTunnel, type Tunnel, type TunnelOptions } from './tunnel.ts';

/** A request that asks for another protocol (WebSocket or any other), ready to go to a pod. */
export interface UpgradeRequest {
  request: IncomingMessage;
  socket: Duplex;
  /** What the client sent after its request already. */
  head: Buffer;
  route: Route;
  pod: PodRecord;
  port: number;
  path: string;
  headers: string[];
  rewrite: RewriteContext;
  timeouts: Timeouts;
  tls: SandboxTls;
  /** At whose pace bytes go, both ways; undefined for their own. */
  pacer: BytePacer | undefined;
  /** Data went through, in either direction; of a WebSocket data frames, as pings and pongs are nobody's use. */
  moved(): void;
  /** Wakes the sandbox for data that came while it slept, as the request itself would. */
  wake: TunnelOptions['wake'];
  done(status: number, failure: UpstreamFailure | undefined): void;
}

/** Asks the pod, and joins both sides if it agrees. `track` is told of the tunnel; what it gives is called when that has ended. */
export function openUpgrade(
  upgrade: UpgradeRequest,
  track: (upgrade: UpgradeRequest, tunnel: Tunnel) => () => void,
): void {
  const { socket } = upgrade;
  let settled = false;
  const settle = (status: number, failure?: UpstreamFailure) => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    upgrade.done(status, failure);
  };
  const upstream = ask(handshakeOf(upgrade), upgrade.pod);
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
    const wrong = wrongSwitch(response, upgrade);
    if (wrong !== undefined) {
      upstreamSocket.destroy();
      settle(502, { code: 'upstream_invalid', detail: wrong, answered: false });
      return;
    }
    // The error of a tunnel is the tunnel's.
    socket.off('error', clientLeft);
    join(upgrade, response, upstreamSocket, upstreamHead, track);
    settle(101);
  });
  upstream.on('response', (response) => {
    socket.off('close', clientLeft);
    socket.once('close', () => upstream.destroy());
    const headers = [...responseHeaders(response.rawHeaders, upgrade.rewrite), 'connection', 'close'];
    socket.write(headOf(response, headers), 'latin1');
    // It ends with the connection; one that breaks off must not look like a whole one.
    response.once('error', () => reset(socket));
    response.pipe(socket);
    settle(response.statusCode ?? 502);
  });
  upstream.on('error', (error: NodeJS.ErrnoException) => {
    settle(502, { ...describe(error), answered: settled });
  });
  upstream.end();
}

/** What a handshake is made with: as little as there is, for a tunnel keeps it to make it again. */
interface Handshake extends Pick<UpgradeRequest, 'route' | 'port' | 'path' | 'headers' | 'timeouts' | 'tls'> {
  method: string;
}

function handshakeOf({ request, route, port, path, headers, timeouts, tls }: UpgradeRequest): Handshake {
  return { method: request.method ?? 'GET', route, port, path, headers, timeouts, tls };
}

/** Opens the tunnel. On its own, as what its closures see lives as long as it: not what was needed until the answer came. */
function join(
  upgrade: UpgradeRequest,
  response: IncomingMessage,
  upstream: Socket,
  first: Buffer,
  track: (upgrade: UpgradeRequest, tunnel: Tunnel) => () => void,
): void {
  const { socket, request, head, timeouts, pacer } = upgrade;
  const handshake = handshakeOf(upgrade);
  socket.write(switchingHead(response, upgrade.rewrite), 'latin1');
  if (head.length > 0) upstream.write(head);
  const agreed = agreementOf(response);
  let untrack = () => {};
  const tunnel = createTunnel({
    client: socket,
    upstream,
    head: kept(head),
    first: kept(first),
    webSocket: /^websocket$/i.test(request.headers.upgrade ?? ''),
    timeouts,
    pacer,
    moved: upgrade.moved,
    wake: upgrade.wake,
    mayRedial: () => handshake.route.sandbox.redials,
    redial: (pod) => redial(handshake, pod, agreed),
    ended: () => untrack(),
  });
  untrack = track(upgrade, tunnel);
}

const NOTHING = Buffer.alloc(0);

/** Even a slice of no bytes keeps all that it was cut from. */
function kept(bytes: Buffer): Buffer {
  return bytes.length === 0 ? NOTHING : bytes;
}

/** The request as it goes to a pod; not sent before it is ended. */
function ask({ method, route, port, path, headers, timeouts, tls }: Handshake, pod: PodRecord): ClientRequest {
  // Upgrades are of HTTP/1.1, also where a port speaks HTTP/2 besides.
  const spoken = protocolOf(route.sandbox.protocols ?? {}, port);
  const protocol = spoken === 'http' || spoken === 'h2c' ? 'http' : 'https';
  const upstream = httpRequest({
    host: pod.address,
    port,
    path,
    method,
    headers,
    // Without an agent, as it makes its connection itself. Half of a tunnel may end before the other.
    createConnection: () =>
      dialSandbox({ sandbox: route.sandbox, address: pod.address, port, halfOpen: true }, protocol, tls),
    timeout: timeouts.connectMs,
    setHost: false,
  });
  upstream.on('timeout', () => {
    if (upstream.socket?.connecting === true)
      upstream.destroy(Object.assign(new Error('connect timeout'), { syscall: 'connect' }));
  });
  return upstream;
}

/** What both sides of a WebSocket agreed on: with another agreement the frames of one side mean something else to the other. */
const AGREED = ['upgrade', 'sec-websocket-accept', 'sec-websocket-protocol', 'sec-websocket-extensions'];
const REDIAL_TIMEOUT_MS = 10_000;

function agreementOf({ headers }: IncomingMessage): (string | undefined)[] {
  return AGREED.map((name) => headers[name] as string | undefined);
}

/** Makes the handshake of a WebSocket again with another pod. Rejects unless it ends in the same agreement. */
function redial(
  handshake: Handshake,
  pod: PodRecord,
  agreed: readonly (string | undefined)[],
): Promise<{ upstream: Socket; first: Buffer }> {
  return new Promise((resolve, reject) => {
    const upstream = ask(handshake, pod);
    const timer = setTimeout(() => upstream.destroy(new Error('no answer in time')), REDIAL_TIMEOUT_MS);
    const refuse = (why: string) => upstream.destroy(new Error(why));
    upstream.on('close', () => clearTimeout(timer));
    upstream.on('error', reject);
    upstream.on('response', ({ statusCode }) => refuse(`answered ${statusCode}`));
    upstream.on('upgrade', (response, socket: Socket, first: Buffer) => {
      clearTimeout(timer);
      socket.setTimeout(0);
      if (agreementOf(response).every((value, index) => value === agreed[index])) resolve({ upstream: socket, first });
      else {
        socket.destroy();
        reject(new Error('agreed on something else'));
      }
    });
    upstream.end();
  });
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

/** A connection whose client does not see how its key was answered. */
interface OfHttp2 {
  accepts(accept: string | undefined): boolean;
}

/** What is wrong with a switch of protocols. */
function wrongSwitch({ headers }: IncomingMessage, { request, socket }: UpgradeRequest): string | undefined {
  if (!wasOffered(headers.upgrade, request.headers.upgrade))
    return 'The sandbox switched to a protocol that nobody asked for.';
  if ('accepts' in socket && !(socket as unknown as OfHttp2).accepts(headers['sec-websocket-accept']))
    return 'The sandbox did not accept this WebSocket.';
  return undefined;
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
  const ofTls = tlsFailure(error.code ?? '');
  if (ofTls !== undefined) return { code: 'upstream_invalid', detail: ofTls };
  return { code: 'upstream_reset', detail: 'The sandbox broke the connection during the upgrade.' };
}

/** Ends a connection so that its other side sees that something is missing. */
function reset(socket: Duplex): void {
  if ('resetAndDestroy' in socket) (socket as Socket).resetAndDestroy();
  else socket.destroy();
}
