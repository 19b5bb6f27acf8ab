import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MANIFEST_TYPE, type TestImage } from './oci-image.ts';

/** A registry of the OCI distribution specification, as much of it as pulls need. */
export interface TestRegistry {
  /** `127.0.0.1:<port>` */
  host: string;
  push(repository: string, tag: string, image: TestImage): void;
  /** Paths that were asked for with success. */
  served: string[];
  /** Answers nothing until it is released. */
  stall(): { release(): void };
  close(): Promise<void>;
}

/** Who may pull, and how that is shown: with each request, or with a token that is fetched for it. */
export interface RegistryAccess {
  kind: 'basic' | 'bearer';
  username: string;
  password: string;
}

/** Starts a registry on a free port of loopback. */
export async function startRegistry(access?: RegistryAccess): Promise<TestRegistry> {
  const manifests = new Map<string, Buffer>();
  const blobs = new Map<string, Buffer>();
  const served: string[] = [];
  let open = Promise.resolve();
  const server = createServer(async (request, response) => {
    await open;
    const [path = '', query = ''] = (request.url ?? '').split('?');
    if (path === '/token') return answerToken(request, response, access, query);
    if (!mayPass(request, access)) {
      const realm =
        access?.kind === 'basic' ? 'Basic realm="test"' : `Bearer realm="http://${host}/token",service="test"`;
      response
        .writeHead(401, { 'www-authenticate': realm })
        .end('{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}');
      return;
    }
    const [, kind] = /^\/v2\/.+\/(manifests|blobs)\/[^/]+$/.exec(path) ?? [];
    const digest = path.slice(path.lastIndexOf('/') + 1);
    const content =
      kind === 'manifests' ? manifests.get(path) : kind === 'blobs' ? blobs.get(digest) : Buffer.from('{}');
    if (content === undefined) {
      response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
      return;
    }
    served.push(path);
    const type = kind === 'manifests' ? MANIFEST_TYPE : 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'content-length': content.length }).end(content);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    served,
    push: (repository, tag, image) => {
      for (const reference of [tag, image.digest])
        manifests.set(`/v2/${repository}/manifests/${reference}`, image.manifest);
      for (const [digest, blob] of image.blobs) blobs.set(digest, blob);
    },
    stall: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      open = promise;
      return { release: resolve };
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

const TOKEN = 'a-token-for-this-pull';

function basic({ username, password }: RegistryAccess): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function mayPass({ headers }: IncomingMessage, access: RegistryAccess | undefined): boolean {
  if (access === undefined) return true;
  return headers.authorization === (access.kind === 'basic' ? basic(access) : `Bearer ${TOKEN}`);
}

function answerToken(
  { headers }: IncomingMessage,
  response: ServerResponse,
  access: RegistryAccess | undefined,
  query: string,
): void {
  const allowed = access !== undefined && headers.authorization === basic(access) && query.includes('service=test');
  response
    .writeHead(allowed ? 200 : 401, { 'content-type': 'application/json' })
    .end(JSON.stringify(allowed ? { token: TOKEN } : {}));
}
