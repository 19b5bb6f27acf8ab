import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, statSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { PodLogOptions } from '../../../src/engine/api/index.ts';
import { createLogStore, createPodLogs, type LogStore } from '../../../src/engine/pod-logs/index.ts';
import type { Pod, ResourceClient } from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';

const KEEP_BYTES = 64 * 1024;

describe('logs of a Pod', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-logs-'));
  const failures: unknown[] = [];
  let store: LogStore;
  let pod: Pod;
  let count = 0;

  before(() => {
    store = createLogStore({ directory, keepBytes: KEEP_BYTES, failed: (_what, error) => failures.push(error) });
  });
  beforeEach(() => {
    pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'box', namespace: 'default', uid: `uid-${++count}` },
      spec: { containers: [{ name: 'main', image: 'x' }] },
      status: {
        phase: 'Running',
        containerStatuses: [
          { name: 'main', ready: true, restartCount: 0, image: 'x', imageID: 'x', state: { running: {} } },
        ],
      },
    };
  });
  after(() => {
    store.close();
    rmSync(directory, { recursive: true });
    assert.deepEqual(failures, []);
  });

  const uid = () => pod.metadata.uid ?? '';
  const client = { get: async () => structuredClone(pod) } as unknown as ResourceClient;

  /** The container writes; `ago` seconds before now, as the file's time tells. */
  function print(text: string, agoSeconds = 0): void {
    appendFileSync(store.pathOf(uid()), text);
    const at = Date.now() / 1000 - agoSeconds;
    utimesSync(store.pathOf(uid()), at, at);
    store.look(uid());
  }

  function read(options: Partial<PodLogOptions> = {}): AsyncIterable<Buffer> {
    const all = { container: 'main', follow: false, previous: false, timestamps: false, ...options };
    return createPodLogs(client, store)('default', 'box', { signal: new AbortController().signal, ...all });
  }

  async function textOf(options: Partial<PodLogOptions> = {}): Promise<string> {
    let text = '';
    for await (const piece of read(options)) text += piece;
    return text;
  }

  const cases: [string, Partial<PodLogOptions>, string][] = [
    ['all of it', {}, 'one\ntwo\nthree\nfour'],
    ['the last lines, one without an end counted', { tailLines: 2 }, 'three\nfour'],
    ['more lines than there are', { tailLines: 9 }, 'one\ntwo\nthree\nfour'],
    ['no lines', { tailLines: 0 }, ''],
    ['so many bytes', { limitBytes: 5 }, 'one\nt'],
    ['no bytes', { limitBytes: 0 }, ''],
    ['the last seconds', { sinceSeconds: 60 }, 'three\nfour'],
    ['nothing so new', { sinceSeconds: 1 }, ''],
    ['since a time', { sinceTime: new Date(Date.now() - 500_000).toISOString() }, 'two\nthree\nfour'],
    ['both: last lines of the last seconds', { sinceSeconds: 60, tailLines: 1 }, 'four'],
  ];
  for (const [what, options, expected] of cases)
    it(`gives ${what}`, async () => {
      store.opening(uid(), 'start');
      print('one\n', 900);
      print('two\n', 300);
      print('three\nfour', 30);
      assert.equal(await textOf(options), expected);
    });

  it('puts before each line when it came', async () => {
    store.opening(uid(), 'start');
    print('one\ntwo', 900);
    print(' goes on\n', 300);
    const stamps = (await textOf({ timestamps: true })).matchAll(/^(\S+Z) (.*)$/gm);
    const found = [...stamps].map(([, at = '', line]) => [Math.round((Date.now() - Date.parse(at)) / 60_000), line]);
    assert.deepEqual(found, [
      [15, 'one'],
      [15, 'two goes on'],
    ]);
  });

  it('keeps what the container printed before it was started again, and nothing older', async () => {
    for (const text of ['first\n', 'second\n', 'third\n']) {
      store.opening(uid(), 'start');
      print(text);
    }
    assert.equal(await textOf(), 'third\n');
    assert.equal(await textOf({ previous: true }), 'second\n');
  });

  it('goes on with one log over a restore', async () => {
    store.opening(uid(), 'start');
    print('before\n');
    store.opening(uid(), 'restore');
    print('after\n');
    assert.equal(await textOf(), 'before\nafter\n');
  });

  it('says that there is no previous log, or none yet', async () => {
    await assert.rejects(textOf(), { code: 'BadRequest', message: /"main" in pod "box" is waiting to start/ });
    store.opening(uid(), 'start');
    print('x');
    await assert.rejects(textOf({ previous: true }), {
      code: 'BadRequest',
      message: /previous terminated container "main" in pod "box" not found/,
    });
  });

  it('follows until the container ends, to its last byte', async () => {
    store.opening(uid(), 'start');
    print('one\n');
    const following = read({ follow: true, tailLines: 0 })[Symbol.asyncIterator]();
    const first = following.next();
    await until('the reader waits for more', async () => {
      print('two\n');
      return Promise.race([first.then(() => true), new Promise<false>((no) => setTimeout(no, 20, false))]);
    });
    assert.match(String((await first).value), /^two\n/);
    pod.status = { phase: 'Succeeded' };
    print('last\n');
    let rest = '';
    for (let next = await following.next(); !next.done; next = await following.next()) rest += next.value;
    assert.match(rest, /last\n$/);
  });

  it('keeps a container that prints without end to a bounded part of the disk, in whole lines', async () => {
    store.opening(uid(), 'start');
    let line = 0;
    const path = store.pathOf(uid());
    await until('old output was let go', () => {
      print(Array.from({ length: 1000 }, () => `line ${String(++line).padStart(10)}\n`).join(''));
      return statSync(path).size > 10 * KEEP_BYTES && statSync(path).blocks * 512 < 4 * KEEP_BYTES;
    });
    const lines = (await textOf()).trimEnd().split('\n');
    assert.ok(lines.length > 1000);
    for (const [index, text] of lines.entries())
      assert.equal(text, `line ${String(line - lines.length + 1 + index).padStart(10)}`);
  });
});
