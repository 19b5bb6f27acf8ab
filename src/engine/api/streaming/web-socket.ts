import type { WebSocket } from '@fastify/websocket';

/** Sends one binary message; resolves once it is handed to the network, so that a slow client holds back its sender. @throws Error if the client is gone */
export function sendBinary(socket: WebSocket, message: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(message, { binary: true }, (error) => (error == null ? resolve() : reject(error)));
  });
}

/**
 * Gives the socket's messages to a handler one after the other, reading no further while it is busy. A handler that throws ends the connection with
 * 1002 (protocol error, RFC 6455 section 7.4.1) and the reason.
 */
export function receiveInOrder(socket: WebSocket, handle: (message: Buffer) => Promise<void> | void): void {
  let waiting = 0;
  let last: Promise<void> = Promise.resolve();
  socket.on('message', (data) => {
    waiting++;
    socket.pause();
    last = last
      .then(() => handle(data as Buffer))
      .catch((error) => socket.close(1002, (error as Error).message.slice(0, 100)))
      .finally(() => {
        if (--waiting === 0) socket.resume();
      });
  });
}
