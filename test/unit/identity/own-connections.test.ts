import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createOwnConnections, type OwnConnections } from '../../../src/router/identity/index.ts';

describe('the credential of connections that a process opens to itself', () => {
  let own: OwnConnections;
  let server: Server;
  let seen: (string | undefined)[];

  for (const listen of ['127.0.0.1', '::'])
    describe(`listening on ${listen}`, () => {
      beforeEach(async () => {
        own = createOwnConnections('secret');
        seen = [];
        server = createServer((asked: IncomingMessage, response) => {
          seen.push(own.credentialOf(asked));
          response.end();
        }).listen(0, listen);
        await once(server, 'listening');
      });
      afterEach(() => {
        server.closeAllConnections();
        server.close();
      });
      const to = () => ({ address: '127.0.0.1', port: (server.address() as AddressInfo).port });

      async function ask(host: string, connection?: Socket): Promise<string | undefined> {
        const { address, port } = to();
        const asked = request({
          host: address,
          port,
          headers: { host },
          ...(connection === undefined ? { agent: false } : { createConnection: () => connection }),
        });
        asked.end();
        const [response] = (await once(asked, 'response')) as [IncomingMessage];
        response.resume();
        await once(response, 'end');
        return seen.at(-1);
      }
      const opened = async () => (await own.open(to(), false)) as Socket;

      it('is theirs, by any name of this machine', async () => {
        for (const host of ['localhost:1234', '127.0.0.1:80', '[::1]:9', 'LOCALHOST'])
          assert.equal(await ask(host, await opened()), 'secret', host);
      });
      it('is nobody else’s, also while one is open', async () => {
        const connection = await opened();
        assert.equal(await ask('localhost'), undefined);
        connection.destroy();
      });
      it('is none for a name that a web page could have made', async () => {
        for (const host of ['rebound.example.com', 'localhost.example.com', '127.0.0.1.example.com'])
          assert.equal(await ask(host, await opened()), undefined, host);
      });
    });
});
