import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';

/** Connections that this process opens to its own router for callers whom it has authenticated already: who forwards a port of the engine's API, say. */
export interface OwnConnections {
  /** @throws Error with the system's code */
  open(to: { address: string; port: number }, encrypted: boolean): Promise<Duplex>;
  /**
   * The credential of requests on such a connection. None where the Host is a name that a web page could have made point to this machine (DNS rebinding): the
   * port may be forwarded to one that browsers reach.
   */
  credentialOf(request: IncomingMessage): string | undefined;
}

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/** No connections yet. `credential` is whose they are. */
export function createOwnConnections(credential: string): OwnConnections {
  /** Ends on this machine are told apart by address and port for as long as they are open. */
  const open = new Set<string>();
  const nameOf = (address = '', port = 0) => `${address.replace(/^::ffff:/, '')} ${port}`;
  return {
    open: async (to, encrypted) => {
      const socket = connect({ host: to.address, port: to.port, noDelay: true });
      await once(socket, 'connect');
      const name = nameOf(socket.localAddress, socket.localPort);
      open.add(name);
      socket.once('close', () => open.delete(name));
      return encrypted ? await encryptedOver(socket) : socket;
    },
    credentialOf: ({ socket, headers }) =>
      open.size > 0 &&
      open.has(nameOf(socket.remoteAddress, socket.remotePort)) &&
      LOOPBACK_HOST.test(headers.host ?? '')
        ? credential
        : undefined,
  };
}

async function encryptedOver(socket: Socket): Promise<Duplex> {
  // Both ends are this process: there is nobody to be told apart.
  const encrypted = connectTls({ socket, rejectUnauthorized: false });
  await once(encrypted, 'secureConnect');
  return encrypted;
}
