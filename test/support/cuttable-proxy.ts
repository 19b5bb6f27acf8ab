import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as later } from 'node:timers/promises';

/** A TCP proxy that stands for a network that fails. */
export interface CuttableProxy {
  port: number;
  /** Breaks every connection. */
  cut(): void;
  /** Breaks every connection and refuses new ones until {@link CuttableProxy.heal}. */
  sever(): void;
  heal(): void;
  /** Lets every byte arrive so much later, in either direction; 0 for at once again. */
  delay(delayMs: number): void;
  close(): Promise<void>;
}

/** Starts a proxy on a free loopback port towards another one. */
export async function startCuttableProxy(targetPort: number): Promise<CuttableProxy> {
  const sockets = new Set<Socket>();
  let severed = false;
  let delayMs = 0;
  const server = createServer((client) => {
    if (severed) {
      client.destroy();
      return;
    }
    const target = connect(targetPort, '127.0.0.1');
    for (const [socket, other] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    pass(client, target);
    pass(target, client);
  });
  /** Copies in order, each piece after the delay that holds when it comes. */
  function pass(from: Socket, to: Socket): void {
    let earlier = Promise.resolve();
    const after = (act: () => void) => {
      const waitMs = delayMs;
      earlier = Promise.all([earlier, waitMs > 0 ? later(waitMs, undefined, { ref: false }) : undefined]).then(act);
    };
    from.on('data', (piece) => after(() => void (to.destroyed || to.write(piece))));
    from.on('end', () => after(() => void to.end()));
  }
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    sever: () => {
      severed = true;
      cut();
    },
    heal: () => {
      severed = false;
    },
    delay: (milliseconds) => {
      delayMs = milliseconds;
    },
    close: async () => {
      cut();
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
}
