import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Agent, request } from 'undici';
import { projectRoot } from '../support/checkout.ts';
import { createEcho } from '../support/echo-program.mjs';
import { pythonEnvironment } from '../support/python.ts';
import { startWire, type Wire } from '../support/wire.ts';

const execute = promisify(execFile);

describe('clients that people use', { timeout: 240_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-clients-'));
  const file = join(directory, 'upload.bin');
  const data = randomBytes(3 << 20);
  const sha256 = createHash('sha256').update(data).digest('hex');
  let wire: Wire;
  let echo: Server;
  let direct: string;
  let through: string;

  before(async () => {
    wire = await startWire();
    echo = createEcho('box').listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const { port } = echo.address() as { port: number };
    direct = `http://127.0.0.1:${port}`;
    through = wire.urlOf(port);
    writeFileSync(file, data);
  });
  after(async () => {
    echo?.closeAllConnections();
    echo?.close();
    await wire?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('requests and websockets from Python see the same with and without the router', async () => {
    const python = await pythonEnvironment(['requests==2.32.5', 'websockets==15.0.1']);
    try {
      const script = join(projectRoot, 'test/integration/public-clients.py');
      const see = async (environment: Record<string, string>) =>
        JSON.parse(await python.run(script, [], environment)) as Record<string, unknown>;
      const { refused, ...seen } = await see({ SANDBOX_URL: through, TOKEN: wire.token });
      assert.deepEqual(seen, await see({ SANDBOX_URL: direct }));
      assert.equal(refused, 401);
      assert.equal((seen.websocket as string[]).length, 4);
    } finally {
      python.close();
    }
  });

  describe('curl', () => {
    const curl = async (...commandLine: string[]): Promise<string> => {
      const authorization = ['-H', `Authorization: Bearer ${wire.token}`];
      const { stdout } = await execute('curl', ['-sS', '--fail', ...authorization, ...commandLine]);
      return stdout;
    };
    const echoed = async (...commandLine: string[]) =>
      JSON.parse(await curl(...commandLine)) as { sizeBytes: number; sha256: string; method: string; url: string };

    it('uploads, asking for 100 Continue first', async () => {
      const seen = await echoed('-H', 'Expect: 100-continue', '--data-binary', `@${file}`, `${through}/`);
      assert.deepEqual([seen.sizeBytes, seen.sha256], [data.length, sha256]);
    });
    it('uploads in chunks', async () => {
      const seen = await echoed('-H', 'Transfer-Encoding: chunked', '-T', file, `${through}/`);
      assert.deepEqual([seen.method, seen.sha256], ['PUT', sha256]);
    });
    it('speaks HTTP/1.0', async () => {
      assert.equal((await echoed('--http1.0', `${through}/old`)).url, '/old');
    });
    it('sends a path as it is', async () => {
      assert.equal((await echoed('--path-as-is', `${through}/a/../b//c%2F`)).url, '/a/../b//c%2F');
    });
    it('sends many requests over one connection', async () => {
      const urls = Array.from({ length: 20 }, (_, index) => `${through}/${index}`);
      const { stdout } = await execute('curl', [
        ...['-sS', '--fail', '-H', `Authorization: Bearer ${wire.token}`, '-w', '%{num_connects}\n'],
        ...urls.flatMap((url) => ['-o', '/dev/null', url]),
      ]);
      assert.deepEqual(stdout.trim().split('\n'), ['1', ...Array.from({ length: 19 }, () => '0')]);
    });
    it('downloads at its own pace', async () => {
      const target = join(directory, 'download.bin');
      await curl('--limit-rate', '8M', '-o', target, `${through}/bytes?n=8000000`);
      assert.equal(readFileSync(target).length, 8_000_000);
    });
  });

  describe('undici', () => {
    const dispatcher = new Agent({ pipelining: 4 });
    after(() => dispatcher.close());
    const headers = () => ({ authorization: `Bearer ${wire.token}` });

    it('pipelines', async () => {
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, index) => request(`${through}/${index}`, { dispatcher, headers: headers() })),
      );
      const urls = await Promise.all(answers.map(async ({ body }) => ((await body.json()) as { url: string }).url));
      assert.deepEqual(
        urls,
        Array.from({ length: 40 }, (_, index) => `/${index}`),
      );
    });
    it('streams a body of unknown length', async () => {
      const body = Readable.from([data.subarray(0, 1000), data.subarray(1000)]);
      const answer = await request(`${through}/`, { dispatcher, method: 'POST', headers: headers(), body });
      assert.equal(((await answer.body.json()) as { sha256: string }).sha256, sha256);
    });
    it('leaves in the middle of an answer, and the next is answered', async () => {
      const leaving = new AbortController();
      const answer = await request(`${through}/hang`, { dispatcher, headers: headers(), signal: leaving.signal });
      leaving.abort();
      await assert.rejects(answer.body.text());
      assert.equal((await request(`${through}/`, { dispatcher, headers: headers() })).statusCode, 200);
    });
  });
});
