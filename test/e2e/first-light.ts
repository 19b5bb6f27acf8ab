import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import WebSocket from 'ws';
import type { LedgerEntry } from '../../src/router/index.ts';
import { cleanClone } from '../support/checkout.ts';
import { footprint, leaked, NOTHING_LEFT } from '../support/leaks.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);

/** The transcript of the README, from a clean clone, on one runtime. */
export function firstLight(runtime: 'gvisor' | 'process'): void {
  describe(`first light on the ${runtime} runtime, from a clean clone`, { timeout: 600_000 }, () => {
    let directory: string;
    let up: RunningUp;
    let before_: ReturnType<typeof footprint>;

    before(async () => {
      directory = cleanClone();
      before_ = footprint(join(directory, '.sandbox-router'));
      up = await startUp({ directory, runtime, timeoutMs: 540_000 });
    });
    after(async () => {
      await up?.kill();
      if (up !== undefined) {
        const again = await startUp({ directory, runtime });
        await again.interrupt();
      }
      rmSync(directory, { recursive: true, force: true });
    });

    const count = async (): Promise<number> => {
      const response = await up.request('/counter/');
      assert.equal(response.status, 200, await response.clone().text());
      return ((await response.json()) as { n: number }).n;
    };
    const pause = async (name: string): Promise<void> => {
      await execute('npx', ['sandbox-router', 'pause', name], { cwd: directory });
    };
    const podUid = () => up.kubectl('get', 'pod', 'counter', '-o', 'jsonpath={.metadata.uid}');

    it('says what runs where, and what to try next', () => {
      assert.match(up.output(), runtime === 'gvisor' ? /runtime +gVisor/i : /isolates nothing/);
      for (const wanted of [
        /token +\S+/,
        /kubeconfig +\S+/,
        /curl -H/,
        /npx sandbox-router pause counter/,
        /kubectl --kubeconfig/,
      ])
        assert.match(up.output(), wanted);
    });

    it('counts on one URL, sleeps, and goes on where it was within a second', async () => {
      assert.equal(await count(), 1);
      assert.equal(await count(), 2);
      await pause('counter');
      assert.equal(
        (await up.kubectl('get', 'pods', '-o', 'name')).includes('pod/counter'),
        false,
        'a paused sandbox has no pod',
      );
      const startedAt = performance.now();
      assert.equal(await count(), 3);
      const elapsedMs = performance.now() - startedAt;
      assert.ok(elapsedMs < 1000, `woken in ${elapsedMs.toFixed(0)} ms`);
    });

    it('lists its sandboxes to kubectl', async () => {
      const table = await up.kubectl('get', 'sandboxes');
      assert.match(table, /^NAME +READY +REASON +AGE/);
      assert.match(table, /^counter +True +DependenciesReady/m);
      assert.match(table, /^shell +True +DependenciesReady/m);
    });

    it('runs commands, and moves files in and out of the workspace', async () => {
      const run = await up.request('/shell/execute', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ command: 'python3 -V; uname -a' }),
      });
      const result = (await run.json()) as { stdout: string; exit_code: number };
      assert.match(result.stdout, /^Python 3/);
      assert.equal(result.exit_code, 0);
      const form = new FormData();
      form.set('file', new Blob([Uint8Array.from([0, 1, 254, 255])]), 'bytes.bin');
      assert.equal((await up.request('/shell/upload', { method: 'POST', body: form })).status, 200);
      const download = await up.request('/shell/download/bytes.bin');
      assert.deepEqual(new Uint8Array(await download.arrayBuffer()), Uint8Array.from([0, 1, 254, 255]));
      assert.equal(((await (await up.request('/shell/exists/bytes.bin')).json()) as { exists: boolean }).exists, true);
      assert.notEqual((await up.request('/shell/download/..%2f..%2fetc%2fpasswd')).status, 200);
    });

    it('stays awake while the code inside says that it is busy', async () => {
      const execute = async (command: string) => {
        const answer = await up.request('/shell/execute', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ command }),
        });
        return ((await answer.json()) as { stdout: string }).stdout;
      };
      const curl = 'curl -s --unix-socket "$SANDBOX_ROUTER_BUSY_SOCKET" http://sandbox/busy';
      await up.kubectl('annotate', 'sandbox', 'shell', 'sandbox-router/idle-timeout=6s');
      assert.match(await execute(`${curl} -d '{"for":"10m","why":"training"}'`), /"busy":true/);
      const usedAt = performance.now();
      const why = ['get', 'pod', 'shell', '-o', 'jsonpath={.metadata.annotations.sandbox-router/busy-why}'];
      await until('the engine has heard of it', async () => (await up.kubectl(...why)) === 'training');
      await until('it would be idle', () => performance.now() - usedAt > 9000);
      const mode = () => up.kubectl('get', 'sandbox', 'shell', '-o', 'jsonpath={.spec.operatingMode}');
      assert.notEqual(await mode(), 'Suspended');
      assert.match(await execute(`${curl} -X DELETE`), /"busy":false/);
      await until('it is paused', async () => (await mode()) === 'Suspended');
      await up.kubectl('annotate', 'sandbox', 'shell', 'sandbox-router/idle-timeout-');
    });

    it('loses no step and no file over 20 rounds of pause and wake', async () => {
      const written = await up.request('/counter/file', { method: 'PUT', body: 'kept' });
      assert.ok(written.status < 300);
      const start = await count();
      for (let round = 1; round <= 20; round++) {
        await pause('counter');
        assert.equal(await count(), start + round);
        const file = await up.request('/counter/file');
        assert.equal(await file.text(), 'kept', `round ${round}`);
      }
    });

    it('answers 50 requests that arrive during one wake, with one restore', async () => {
      const start = await count();
      await pause('counter');
      const wakesBefore = await metric('sandbox_router_wakes_total{result="ok"}');
      const answers = await Promise.all(Array.from({ length: 50 }, count));
      assert.deepEqual(
        answers.sort((left, right) => left - right),
        Array.from({ length: 50 }, (_, index) => start + index + 1),
      );
      assert.equal((await metric('sandbox_router_wakes_total{result="ok"}')) - wakesBefore, 1);
      const started = await up.kubectl(
        'get',
        'pod',
        'counter',
        '-o',
        'jsonpath={.status.containerStatuses[0].restartCount}',
      );
      assert.equal(started, '0');
    });

    it('holds a WebSocket that is the first request of a paused sandbox, then connects it', async () => {
      const start = await count();
      await pause('counter');
      const socket = new WebSocket(`${up.url.replace('http', 'ws')}/counter/socket`, {
        headers: { authorization: `Bearer ${up.token}` },
      });
      await once(socket, 'open');
      socket.send('hello');
      const [message] = (await once(socket, 'message')) as [Buffer];
      assert.deepEqual(JSON.parse(message.toString()), { n: start + 1, echo: 'hello' });
      socket.close();
      await once(socket, 'close');
    });

    it('stops on Ctrl-C without a trace, and finds everything as it was at the next start', async () => {
      const start = await count();
      const uid = await podUid();
      await up.interrupt();
      const left = leaked(before_, footprint(join(directory, '.sandbox-router')));
      assert.deepEqual(left, NOTHING_LEFT);
      up = await startUp({ directory, runtime });
      assert.equal(await podUid(), uid);
      if (runtime === 'gvisor') assert.equal(await count(), start + 1);
      else assert.ok((await count()) >= 1, 'the process runtime can not keep memory without its process');
    });

    it('tells why it was paused and woken, also before the last start', async () => {
      const { stdout } = await execute('npx', ['sandbox-router', 'why', 'counter', '--json'], { cwd: directory });
      const { now, events } = JSON.parse(stdout) as { now: { mode: string }; events: LedgerEntry[] };
      assert.equal(now.mode, 'Running');
      const woken = events.filter(({ type }) => type === 'woken');
      const times = woken.reduce((sum, { count }) => sum + count, 0);
      assert.ok(times > 20, stdout);
      assert.ok(
        woken.some(({ cause }) => cause?.path === '/socket'),
        stdout,
      );
      const api = (await (await up.request('/-/v1/sandboxes/counter/events')).json()) as { items: LedgerEntry[] };
      assert.deepEqual(
        api.items.filter(({ type }) => type === 'woken'),
        woken,
      );
    });

    const metric = async (name: string): Promise<number> => {
      const text = await (await fetch(`${up.adminUrl}/metrics`)).text();
      const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
      return line === undefined ? 0 : Number(line.slice(name.length));
    };

    it('keeps the state directory to its owner', async () => {
      const { statSync } = await import('node:fs');
      for (const file of ['token', 'kubeconfig'])
        assert.equal(statSync(join(directory, '.sandbox-router', file)).mode & 0o777, 0o600, file);
    });
  });
}
