import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FakeCluster, startFakeCluster } from '../../bench/support/fake-cluster.ts';
import { type RawConnection, type RawUpstream, rawClient, rawUpstream } from './raw-connection.ts';
import { type ServeProcess, startServe, writeKeys } from './serve.ts';
import { until } from './until.ts';

/** `sandbox-router serve` between a raw client and raw sandboxes: any port of loopback is a port of the sandbox `box`. */
export interface Wire {
  router: ServeProcess;
  cluster: FakeCluster;
  token: string;
  /** Base of the URLs of what listens on a port. */
  urlOf(port: number): string;
  /** Head of a request as bytes, up to and with the empty line; fields beyond Host and Authorization are the caller's. */
  head(start: string, port: number, fields?: readonly string[]): string;
  /** Connects to the router; cut when the test is over. */
  client(): Promise<RawConnection>;
  /** A sandbox's server; closed when the test is over. */
  upstream(serve?: (connection: RawConnection) => unknown, port?: number): Promise<RawUpstream>;
  /** Client, server, and the server's first connection after the client sent this request. */
  exchange(start: string, fields?: readonly string[], body?: string): Promise<Exchange>;
  /** Ends what the test opened. */
  tidy(): Promise<void>;
  close(): Promise<void>;
}

/** Both sides of the router in one exchange. */
export interface Exchange {
  client: RawConnection;
  upstream: RawUpstream;
  sandbox: RawConnection;
}

/** Starts a {@link Wire}; `config` is the text of a configuration file, `annotations` are the sandbox's. */
export async function startWire(config?: string, annotations?: Readonly<Record<string, string>>): Promise<Wire> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-wire-'));
  const cluster = await startFakeCluster([
    {
      namespace: 'default',
      name: 'box',
      address: '127.0.0.1',
      port: 1,
      ...(annotations === undefined ? {} : { annotations }),
    },
  ]);
  const kubeconfig = join(directory, 'kubeconfig');
  writeFileSync(kubeconfig, cluster.kubeconfig);
  const keys = writeKeys(directory, { wire: { tenant: 'default' } });
  const flags = ['--base-domain', 'localhost'];
  if (config !== undefined) {
    writeFileSync(join(directory, 'sandbox-router.yaml'), config);
    flags.push('--config', join(directory, 'sandbox-router.yaml'));
  }
  const router = await startServe({ kubeconfig, keys: keys.path, flags });
  await until('the router is ready', async () =>
    fetch(`${router.adminUrl}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  const token = keys.tokens.wire;
  const clients: RawConnection[] = [];
  const upstreams: RawUpstream[] = [];

  async function client(): Promise<RawConnection> {
    const connection = await rawClient(router.url);
    clients.push(connection);
    return connection;
  }

  async function upstream(serve?: (connection: RawConnection) => unknown, port?: number): Promise<RawUpstream> {
    const server = await rawUpstream(serve, port);
    upstreams.push(server);
    return server;
  }

  function head(start: string, port: number, fields: readonly string[] = []): string {
    const [method, path = '/'] = start.split(' ');
    const own = ['Host: router.test', `Authorization: Bearer ${token}`];
    return `${method} /box:${port}${path} HTTP/1.1\r\n${[...own, ...fields].join('\r\n')}\r\n\r\n`;
  }

  async function tidy(): Promise<void> {
    for (const { socket } of clients.splice(0)) socket.destroy();
    await Promise.all(upstreams.splice(0).map((each) => each.close()));
  }

  return {
    router,
    cluster,
    token,
    urlOf: (port) => `${router.url}/box:${port}`,
    head,
    client,
    upstream,
    exchange: async (start, fields = [], body = '') => {
      const server = await upstream();
      const connection = await client();
      connection.write(head(start, server.port, fields) + body);
      return { client: connection, upstream: server, sandbox: await server.accept() };
    },
    tidy,
    close: async () => {
      await tidy();
      await router.stop('SIGKILL');
      await cluster.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
