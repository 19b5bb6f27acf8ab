import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { openStore, type Store, StoreError } from '../../../src/engine/store/index.ts';
import type { KubernetesObject } from '../../../src/kubernetes/index.ts';

function thing(name: string, value = 0): KubernetesObject {
  return { apiVersion: 'v1', kind: 'Thing', metadata: { name, labels: { value: String(value) } } };
}

function isStoreError(code: string) {
  return (error: unknown) => error instanceof StoreError && error.code === code;
}

describe('the store', () => {
  let directory: string;
  let store: Store;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'engine-store-'));
    store = openStore({ directory, historyLimit: 8 });
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const create = (name: string) => store.write('things', name, thing(name), undefined);
  const update = (name: string, value: number) =>
    store.write('things', name, thing(name, value), store.latest('things', name));
  const remove = (name: string) => store.write('things', name, undefined, store.latest('things', name));
  const names = (options = {}) => store.list('things', options).items.map(({ key }) => key);

  it('gives every write a larger revision, stamped on the object', async () => {
    const first = await create('a');
    const second = await update('a', 1);
    assert.ok(Number(second.metadata.resourceVersion) > Number(first.metadata.resourceVersion));
    assert.equal(store.revision, Number(second.metadata.resourceVersion));
  });

  it('shows a write to readers only once it is durable, but to the next writer at once', async () => {
    const written = create('a');
    assert.equal(store.get('things', 'a'), undefined);
    assert.equal(store.latest('things', 'a')?.metadata.name, 'a');
    await written;
    assert.equal(store.get('things', 'a')?.metadata.name, 'a');
  });

  it('refuses a write computed from anything but the latest object', async () => {
    const first = await create('a');
    const second = update('a', 1);
    assert.throws(() => store.write('things', 'a', thing('a', 2), first), isStoreError('conflict'));
    await second;
    assert.equal(store.get('things', 'a')?.metadata.labels?.value, '1');
  });

  it('refuses an object of more than 1.5 MiB, and goes on', async () => {
    const { revision } = store;
    const large = { ...thing('a'), data: 'ä'.repeat(800_000) } as KubernetesObject;
    assert.throws(() => store.write('things', 'a', large, undefined), isStoreError('too_large'));
    assert.equal(Number((await create('a')).metadata.resourceVersion), revision + 1);
  });

  it('refuses to create what is there and to remove what is not', async () => {
    await create('a');
    assert.throws(() => store.write('things', 'a', thing('a'), undefined), isStoreError('conflict'));
    assert.throws(() => store.write('things', 'b', undefined, undefined), isStoreError('conflict'));
  });

  it('lists in key order, by prefix, in pages', async () => {
    await Promise.all(['b/2', 'a/1', 'b/1', 'c/1', 'b/3'].map(create));
    assert.deepEqual(names(), ['a/1', 'b/1', 'b/2', 'b/3', 'c/1']);
    assert.deepEqual(names({ prefix: 'b/' }), ['b/1', 'b/2', 'b/3']);
    const page = store.list('things', { prefix: 'b/', limit: 2 });
    assert.equal(page.remaining, 1);
    assert.deepEqual(names({ prefix: 'b/', after: 'b/2' }), ['b/3']);
  });

  it('lists a collection as it was at an earlier revision', async () => {
    await Promise.all(['a', 'b', 'c'].map(create));
    const { revision } = store;
    await update('a', 1);
    await remove('b');
    await create('bb');
    assert.deepEqual(names({ revision }), ['a', 'b', 'c']);
    assert.equal(store.list('things', { revision }).items[0]?.object.metadata.labels?.value, '0');
    assert.deepEqual(names({ revision, after: 'a' }), ['b', 'c']);
    assert.deepEqual(names(), ['a', 'bb', 'c']);
  });

  it('tells every change after a revision, with what was there before', async () => {
    await create('a');
    const { revision } = store;
    await update('a', 1);
    await remove('a');
    const changes = store.changes('things', revision);
    assert.deepEqual(
      changes.map(({ type, object, previous }) => [
        type,
        object.metadata.labels?.value,
        previous?.metadata.labels?.value,
      ]),
      [
        ['MODIFIED', '1', '0'],
        ['DELETED', '1', '1'],
      ],
    );
    assert.equal(changes[1]?.object.metadata.resourceVersion, String(store.revision));
  });

  it('keeps a bounded history and says so when asked for more', async () => {
    await create('a');
    const { revision } = store;
    for (let value = 0; value < 30; value++) await update('a', value);
    assert.throws(() => store.changes('things', revision), isStoreError('expired'));
    assert.throws(() => store.list('things', { revision }), isStoreError('expired'));
    assert.equal(store.changes('things', store.revision - 3).length, 3);
  });

  it('rings subscribers after each commit until they leave', async () => {
    let rings = 0;
    const leave = store.subscribe('things', () => rings++);
    await create('a');
    await update('a', 1);
    leave();
    await update('a', 2);
    assert.equal(rings, 2);
  });

  it('gives objects that cannot be changed', async () => {
    const object = await create('a');
    assert.throws(() => {
      object.metadata.name = 'b';
    }, TypeError);
  });

  it('has everything after being opened again, and never gives a revision twice', async () => {
    await create('a');
    await create('b');
    const last = await update('b', 7);
    await remove('a');
    const { revision } = store;
    await store.close();
    store = openStore({ directory });
    assert.deepEqual(names(), ['b']);
    assert.deepEqual(store.get('things', 'b'), last);
    assert.ok(store.revision >= revision);
    const next = await create('c');
    assert.ok(Number(next.metadata.resourceVersion) > revision);
    assert.throws(() => store.changes('things', revision - 1), isStoreError('expired'));
  });

  it('refuses writes after it was closed', async () => {
    await store.close();
    assert.throws(() => create('a'), isStoreError('closed'));
    store = openStore({ directory });
  });
});
