import { createServer } from 'node:net';
import { openSteadyClient, type SteadyClient, type SteadyRequests, type SteadyWay } from './steady-requests.ts';

/** `steady-load-process.ts <port>`: a sandbox with a small answer, which also sends what it is told to over IPC and answers with its delays. */
const ANSWER = Buffer.from(
  'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\nhello',
);
/** What heads of requests without a body end with. */
const END = '\n'.charCodeAt(0);

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes) => (bytes.at(-1) === END ? socket.write(ANSWER) : undefined));
});
server.listen(Number(process.argv[2]), () => process.send?.('listening'));

const clients = new Map<number, Promise<SteadyClient>>();
process.on('message', ({ port, path, headers, ...requests }: SteadyWay & SteadyRequests) => {
  const client = clients.get(port) ?? openSteadyClient({ port, path, headers });
  clients.set(port, client);
  client
    .then(({ send }) => send(requests))
    .then(
      (delaysMs) => process.send?.({ delaysMs }),
      (error: Error) => process.send?.({ error: error.message }),
    );
});
process.on('disconnect', () => process.exit());
