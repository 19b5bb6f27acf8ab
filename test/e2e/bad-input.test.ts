import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { globSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { projectRoot } from '../support/checkout.ts';
import { rawRequest } from '../support/raw-request.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);

describe('bad input gets a precise answer and changes nothing', { timeout: 300_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-bad-input-'));
  let up: RunningUp;

  before(async () => {
    up = await startUp({ directory: projectRoot, stateDirectory, runtime: 'gvisor' });
  });
  after(async () => {
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  const manifest = (name: string, container: string, more = '') => `
apiVersion: agents.x-k8s.io/v1beta1
kind: Sandbox
metadata: {name: ${name}, namespace: default}
spec:
  ${more}
  podTemplate:
    spec:
      containers: ${container}
`;
  const apply = async (text: string): Promise<{ ok: boolean; output: string }> => {
    const path = join(stateDirectory, 'manifest.yaml');
    writeFileSync(path, text);
    try {
      return { ok: true, output: await up.kubectl('apply', '-f', path) };
    } catch (error) {
      return { ok: false, output: (error as { stderr: string }).stderr };
    }
  };
  const readyMessage = (name: string) =>
    up.kubectl(
      'get',
      'sandbox',
      name,
      '-o',
      'jsonpath={.status.conditions[?(@.type=="Ready")].reason}: {.status.conditions[?(@.type=="Ready")].message}',
    );

  describe('in a request', () => {
    const cases: [name: string, path: string, status: number, code: string][] = [
      ['an unknown sandbox', '/nobody/', 404, 'sandbox_not_found'],
      ['a name in uppercase', '/Counter/', 400, 'bad_address'],
      ['a name of 64 characters', `/${'a'.repeat(64)}/`, 400, 'bad_address'],
      ['a name of two dots', '/../', 400, 'bad_address'],
      ['encoded dots', '/%2e%2e/', 400, 'bad_address'],
      ['an encoded slash in the name', '/counter%2fx/', 400, 'bad_address'],
      ['an underscore', '/my_box/', 400, 'bad_address'],
      ['a port out of range', '/counter:70000/', 400, 'bad_address'],
      ['a port nobody listens on', '/counter:9/', 502, 'upstream_refused'],
    ];
    for (const [name, path, status, code] of cases) {
      it(`${name} → ${status} ${code}`, async () => {
        const answer = await rawGet(up.url, path, up.token);
        assert.equal(answer.status, status, answer.body);
        assert.match(answer.contentType, /^application\/problem\+json/);
        const problem = JSON.parse(answer.body) as Record<string, unknown>;
        assert.equal(problem.code, code);
        for (const field of ['type', 'title', 'status', 'detail', 'requestId']) assert.ok(problem[field], field);
      });
    }
    for (const [name, token] of [
      ['no token', undefined],
      ['a wrong token', 'wrong'],
      ['half of the token', 'half'],
    ] as const) {
      it(`${name} → 401, for sandboxes that exist or not`, async () => {
        for (const path of ['/counter/', '/nobody/']) {
          const given = token === 'half' ? up.token.slice(0, up.token.length / 2) : token;
          const answer = await rawGet(up.url, path, given);
          assert.equal(answer.status, 401, path);
          assert.equal(JSON.parse(answer.body).code, 'unauthenticated');
        }
      });
    }
  });

  describe('in a manifest', () => {
    it('an unknown field is named, and nothing is created', async () => {
      const { ok, output } = await apply(
        manifest('bad', '[{name: a, image: sandbox-router.local/toolbox}]', 'podTemplat: {}'),
      );
      assert.equal(ok, false);
      assert.match(output, /unknown field "spec\.podTemplat"/);
      await assert.rejects(up.kubectl('get', 'sandbox', 'bad'), /NotFound/);
    });
    it('no containers', async () => {
      const { ok, output } = await apply(manifest('bad', '[]'));
      assert.equal(ok, false);
      assert.match(output, /spec\.podTemplate\.spec\.containers/);
      await assert.rejects(up.kubectl('get', 'sandbox', 'bad'), /NotFound/);
    });
    it('a command that exits at once: the condition says why, with its last log lines', async () => {
      await apply(
        manifest(
          'exits',
          '[{name: a, image: sandbox-router.local/toolbox, command: ["sh", "-c", "echo the disk of doom >&2; exit 7"]}]',
        ),
      );
      const message = await until('Ready says why', async () => {
        const text = await readyMessage('exits');
        return text.includes('doom') ? text : undefined;
      });
      assert.match(message, /7/);
      const answer = await rawGet(up.url, '/exits/', up.token, { 'x-sandbox-timeout': '3' });
      assert.equal(answer.status >= 400, true);
      await up.kubectl('delete', 'sandbox', 'exits');
    });
    it('a command that does not exist', async () => {
      await apply(
        manifest('absent', '[{name: a, image: sandbox-router.local/toolbox, command: ["/no/such/program"]}]'),
      );
      await until('Ready names the program', async () => (await readyMessage('absent')).includes('/no/such/program'));
      await up.kubectl('delete', 'sandbox', 'absent');
    });
  });

  describe('from the disk', () => {
    const pause = () =>
      execute(process.execPath, ['src/cli/main.ts', 'pause', 'counter', '--state-dir', stateDirectory], {
        cwd: projectRoot,
      });
    const count = async () => ((await (await up.request('/counter/')).json()) as { n: number }).n;

    it('a corrupted snapshot is kept and reported, not replaced by a cold start', async () => {
      await up.kubectl('apply', '-f', join(projectRoot, 'deploy/examples/quickstart.yaml'));
      await count();
      await pause();
      const [pages] = globSync(join(stateDirectory, 'engine/snapshots/*/pages.img'));
      assert.ok(pages !== undefined);
      truncateSync(pages, 4096);
      const answer = await rawGet(up.url, '/counter/', up.token, { 'x-sandbox-timeout': '10' });
      assert.equal(answer.status, 503, answer.body);
      assert.match(answer.body, /snapshot/i);
      assert.match(await readyMessage('counter'), /snapshot/i);
      assert.equal(globSync(join(stateDirectory, 'engine/snapshots/*/pages.img')).length, 1);
      await up.kubectl('delete', 'sandbox', 'counter');
    });
  });
});

/** A GET as `curl` would send it. */
async function rawGet(
  url: string,
  path: string,
  token?: string,
  more: Record<string, string> = {},
): Promise<{ status: number; contentType: string; body: string }> {
  const headers: Record<string, string> = { accept: 'application/json', ...more };
  if (token !== undefined) headers.authorization = `Bearer ${token}`;
  const answer = await rawRequest(url, { path, headers });
  return { ...answer, contentType: answer.headers.get('content-type')?.[0] ?? '' };
}
