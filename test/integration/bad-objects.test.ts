import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  loadKubeConfig,
  NAMESPACES,
} from '../../src/kubernetes/index.ts';
import { BAD_REQUESTS, type BadRequest, OBJECTS } from '../support/bad-requests/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

describe(`${BAD_REQUESTS.length} malformed and hostile requests to the engine's API`, { timeout: 120_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-bad-objects-'));
  let up: RunningUp;
  let client: HttpResourceClient;
  let api: { server: string; ca: string };
  let atFirst: Record<string, unknown>;

  before(async () => {
    const command = [process.execPath, join(projectRoot, 'src/cli/main.ts'), 'up'];
    up = await startUp({ directory: projectRoot, stateDirectory, runtime: 'process', command });
    const access = loadKubeConfig({ path: up.kubeconfig });
    api = { server: access.server, ca: String(access.ca) };
    client = createHttpResourceClient(access);
    for (const [path, object] of Object.entries(OBJECTS)) {
      const answer = await send({ method: 'POST', path, body: object });
      assert.equal(answer.status, 201, answer.text);
    }
    atFirst = await until('the engine is at rest', async () => {
      const version = await storeVersion();
      const found = await everything();
      return version === (await storeVersion()) ? found : undefined;
    });
  });
  after(async () => {
    await client?.close();
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  for (const bad of BAD_REQUESTS)
    it(`${bad.name} → ${bad.status} ${bad.reason}`, async () => {
      const version = await storeVersion();
      const answer = await send(bad);
      assert.equal(answer.status, bad.status, answer.text);
      const status = JSON.parse(answer.text) as Record<string, unknown>;
      assert.deepEqual(
        { kind: status.kind, status: status.status, reason: status.reason, code: status.code },
        { kind: 'Status', status: 'Failure', reason: bad.reason, code: bad.status },
      );
      for (const wanted of [bad.message].flat()) assert.match(String(status.message), wanted);
      assert.ok(String(status.message).length < 4096, 'what was sent is not sent back whole');
      assert.equal(await storeVersion(), version, 'nothing was written');
    });

  it('are more than sixty, and the engine still does its work', async () => {
    assert.ok(BAD_REQUESTS.length > 60);
    assert.equal((await send({ method: 'GET', path: '/readyz' })).text, 'ok');
    assert.deepEqual(await everything(), atFirst);
  });

  /** The engine has one version for everything: any write moves it. */
  async function storeVersion(): Promise<string> {
    return (await client.list(NAMESPACES)).resourceVersion;
  }

  /** Every object of every kind. */
  async function everything(): Promise<Record<string, unknown>> {
    const found: Record<string, unknown> = {};
    const groups = await client.read<{ groups: { versions: { groupVersion: string }[] }[] }>('/apis');
    const paths = [
      '/api/v1',
      ...groups.groups.flatMap(({ versions }) => versions.map((one) => `/apis/${one.groupVersion}`)),
    ];
    for (const path of paths) {
      const { resources } = await client.read<{ resources: { name: string; verbs: string[] }[] }>(path);
      for (const { name, verbs } of resources)
        if (verbs.includes('list')) {
          const list = await client.read<{ items: object[] }>(`${path}/${name}`);
          found[`${path}/${name}`] = list.items;
        }
    }
    return found;
  }

  /** Sends exactly that. */
  function send(bad: Pick<BadRequest, 'method' | 'path' | 'headers' | 'body' | 'chunked'>) {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
    const plain = typeof bad.body === 'string' || Buffer.isBuffer(bad.body);
    const body = bad.body === undefined ? undefined : plain ? bad.body : JSON.stringify(bad.body);
    const headers: Record<string, string> = {
      authorization: `Bearer ${up.token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(body === undefined || bad.chunked === true
        ? {}
        : { 'content-length': String(Buffer.byteLength(body as string)) }),
      ...bad.headers,
    };
    const sent = request(new URL(bad.path, api.server), {
      method: bad.method,
      headers,
      ca: api.ca,
      // Not by the Host header, which is one of the things that are wrong.
      checkServerIdentity: () => undefined,
      path: bad.path,
      agent: false,
    });
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    // A server that refuses a body need not read all of it.
    sent.on('error', (error) => setImmediate(() => reject(error)));
    sent.end(body as string | undefined);
    return promise;
  }
});
