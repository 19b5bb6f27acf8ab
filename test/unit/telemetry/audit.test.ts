import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createAuditLog, createLineWriter } from '../../../src/telemetry/index.ts';
import { until } from '../../support/until.ts';

describe('the audit log', () => {
  it('tells the first of what comes often at once, and the rest as a number', () => {
    const lines: Record<string, unknown>[] = [];
    const log = createAuditLog(
      (line) => lines.push(JSON.parse(line)),
      () => new Date(0),
    );
    for (let index = 0; index < 5; index++) log.often('reached', 'a', 'key', 'a', 'box', undefined);
    log.often('reached', 'a', 'key', 'a', 'other', undefined);
    log.often('refused', 'a', 'key', 'b', 'box', { code: 'sandbox_not_found', client: '::1', requestId: 'r1' });
    log.often('refused', 'a', 'key', 'b', 'box', { code: 'sandbox_not_found', client: '::1', requestId: 'r2' });
    log.often('refused', 'a', 'key', 'b', 'box', { code: 'rate_limited', client: '::1' });
    assert.equal(lines.length, 4);
    log.settle();
    assert.deepEqual(lines.slice(4), [
      {
        time: '1970-01-01T00:00:00.000Z',
        action: 'reached',
        tenant: 'a',
        credential: 'key',
        namespace: 'a',
        sandbox: 'box',
        count: 4,
      },
      {
        time: '1970-01-01T00:00:00.000Z',
        action: 'refused',
        tenant: 'a',
        credential: 'key',
        namespace: 'b',
        sandbox: 'box',
        code: 'sandbox_not_found',
        client: '::1',
        count: 1,
      },
    ]);
    log.settle();
    assert.equal(lines.length, 6, 'nothing is told twice');
  });

  it('keeps its size whoever is refused under how many names', () => {
    let lines = 0;
    const log = createAuditLog(
      () => lines++,
      () => new Date(0),
    );
    for (let index = 0; index < 25_000; index++)
      log.often('refused', undefined, undefined, 'a', `x${index}`, undefined);
    assert.equal(lines, 25_000);
  });
});

describe('the writer of audit lines', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-audit-'));
  after(() => rmSync(directory, { recursive: true }));
  const failures: unknown[] = [];
  const writerOf = (name: string, more: object = {}) =>
    createLineWriter({ target: join(directory, name), failed: (error) => failures.push(error), ...more });
  const read = (name: string) => readFileSync(join(directory, name), 'utf8');

  it('writes all lines in order, for its owner alone, and appends', async () => {
    for (const part of ['a', 'b']) {
      const writer = writerOf('log');
      for (let index = 0; index < 1000; index++) writer.write(`${part}${index}`);
      await writer.close();
    }
    const wanted = ['a', 'b'].flatMap((part) => Array.from({ length: 1000 }, (_, index) => `${part}${index}`));
    assert.equal(read('log'), `${wanted.join('\n')}\n`);
    assert.equal(statSync(join(directory, 'log')).mode & 0o777, 0o600);
  });

  it('follows a rotation, told of it or not', async () => {
    const writer = writerOf('rotated');
    writer.write('one');
    await until('it is written', () => read('rotated') === 'one\n');
    renameSync(join(directory, 'rotated'), join(directory, 'rotated.1'));
    writer.write('two');
    writer.reopen();
    await writer.close();
    assert.deepEqual([read('rotated.1'), read('rotated')], ['one\n', 'two\n']);
  });

  it('drops and counts what there is no room for, and says so afterwards', async () => {
    const writer = writerOf('full', { mostWaiting: 10 });
    for (let index = 0; index < 5; index++) writer.write('12345');
    assert.equal(writer.droppedLines(), 3);
    await writer.close();
    const [lost, ...kept] = read('full').trimEnd().split('\n');
    assert.deepEqual({ ...JSON.parse(lost ?? ''), time: 0 }, { time: 0, action: 'lost', count: 3 });
    assert.deepEqual(kept, ['12345', '12345']);
  });

  it('goes on when the disk fails', async () => {
    const writer = createLineWriter({ target: '/dev/full', failed: (error) => failures.push(error) });
    writer.write('x');
    await until('it failed', () => failures.length === 1);
    assert.equal(writer.droppedLines(), 1);
    await writer.close();
  });

  it('refuses a place where it can not write', () => {
    assert.throws(() => writerOf('no/such/directory'), { code: 'ENOENT' });
  });
});
