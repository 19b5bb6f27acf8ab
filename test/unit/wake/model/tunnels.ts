import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { createTunnel, type Tunnel } from '../../../../src/router/forward/tunnel.ts';
import type { Principal } from '../../../../src/router/identity/index.ts';
import type { Exchange } from '../../../../src/router/proxy/exchange.ts';
import type { LocateOptions } from '../../../../src/router/proxy/locate.ts';
import { wakeForData } from '../../../../src/router/proxy/wake-request.ts';
import type { PodRecord, Route } from '../../../../src/router/table/index.ts';
import { isLeaving } from '../../../../src/router/wake/index.ts';
import type { FakeCluster } from './fake-cluster.ts';
import type { Clock, Router } from './router.ts';

/** A client that sends numbers, one after the other, and a sandbox that says each back. */
export interface Counting {
  router: Router;
  tunnel: Tunnel;
  sent: number;
  /** What came to the sandbox, and what came back. */
  received: number[];
  echoed: number[];
  /** Its router has ended. */
  broken: boolean;
}

/** One end of a connection, of which the other is a function. */
class Wire extends Duplex {
  private readonly written: (chunk: Buffer) => void;

  constructor(written: (chunk: Buffer) => void) {
    super();
    this.written = written;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written(chunk);
    done();
  }

  setNoDelay(): void {}

  setTimeout(): void {}

  resetAndDestroy(): void {
    this.destroy();
  }
}

const NUMBER_BYTES = 4;
const PORT = 8888;
const PRINCIPAL = {
  scopes: new Set(['wake']),
  tenant: { name: 'default', weight: 1, limits: { concurrentWakes: 4 } },
} as unknown as Principal;

function numbersIn(chunk: Buffer): number[] {
  return Array.from({ length: chunk.length / NUMBER_BYTES }, (_, index) => chunk.readUInt32BE(index * NUMBER_BYTES));
}

/** Tunnels of the router's own making between such clients and the sandbox. */
export function createTunnels(cluster: FakeCluster, clock: Clock) {
  const all: Counting[] = [];

  function join(router: Router, route: Route, pod: PodRecord): void {
    const received: number[] = [];
    const echoed: number[] = [];
    const connection = cluster.processes.open(
      (chunk) => {
        received.push(...numbersIn(chunk));
        upstream.push(chunk);
      },
      () => upstream.destroy(),
    );
    const upstream = new Wire(connection.send);
    upstream.on('close', connection.close);
    const client = new Wire((chunk) => void echoed.push(...numbersIn(chunk)));
    client.on('error', () => {});
    let untrack = () => {};
    const tunnel = createTunnel({
      client,
      upstream: upstream as unknown as Socket,
      head: Buffer.alloc(0),
      first: Buffer.alloc(0),
      webSocket: false,
      timeouts: {} as never,
      pacer: undefined,
      moved: () => router.activity.touch(route, clock.nowMs),
      wake: (bytes, signal) => wakeForData(wakingBy(router), {} as Exchange, PRINCIPAL, route, PORT, bytes, signal),
      mayRedial: () => false,
      redial: () => Promise.reject(new Error('no sandbox of the model is dialled again')),
      ended: () => untrack(),
    });
    untrack = router.lines.add(tunnel, route, pod);
    all.push({ router, tunnel, sent: 0, received, echoed, broken: false });
  }

  return {
    all,
    /** The handshake of one, where the sandbox runs and accepts it. */
    open: (router: Router): void => {
      const route = router.route();
      const pod = route?.pod;
      if (route === undefined || pod === undefined || router.isClosed()) return;
      if (!router.table.isRoutable(route) || isLeaving(route, 'use')) return;
      cluster.connect(pod.address).then((accepted) => (accepted && !router.isClosed() ? join(router, route, pod) : {}));
    },
    /** The client of one says its next number. */
    say: (choice: number): void => {
      const open = all.filter(({ tunnel }) => !tunnel.client.destroyed);
      const one = open[choice % Math.max(1, open.length)];
      if (one === undefined) return;
      const chunk = Buffer.alloc(NUMBER_BYTES);
      chunk.writeUInt32BE(++one.sent);
      one.tunnel.client.push(chunk);
    },
    /** Whether all that was said on a tunnel that is still open has been said back. */
    areQuiet: () => all.every(({ tunnel, sent, echoed }) => tunnel.client.destroyed || echoed.length === sent),
    /** Their router ends. */
    breakOf: (router: Router): void => {
      for (const one of all) {
        if (one.router !== router) continue;
        one.broken = true;
        one.tunnel.cut();
      }
    },
  };
}

/** What data that comes on a tunnel is let through by, where nothing is limited. */
function wakingBy({ waker }: Router): LocateOptions {
  const limits = { hold: () => undefined, release: () => {}, beginWake: () => undefined, endWake: () => {} };
  return {
    waker,
    limits,
    refusedByClass: () => undefined,
    woke: () => {},
    wakeEnded: () => {},
  } as unknown as LocateOptions;
}
