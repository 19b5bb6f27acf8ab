import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

/** A sandbox whose WebSockets say back what they hear: `web-socket-echo.ts <port> [host]`. */

const server = createServer((_request, response) => response.end());
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (socket) => {
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});
server.listen(Number(process.argv[2]), process.argv[3] ?? '127.0.0.1');
