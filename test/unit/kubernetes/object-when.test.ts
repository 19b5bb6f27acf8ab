import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ApiError,
  type KubernetesObject,
  objectWhen,
  type ResourceClient,
  SANDBOXES,
  type WatchEvent,
} from '../../../src/kubernetes/index.ts';

interface Counter extends KubernetesObject {
  count: number;
}

type Step = WatchEvent<Counter>[] | ApiError;

function counter(count: number, uid = 'first'): Counter {
  const metadata = { namespace: 'default', name: 'a', uid, resourceVersion: String(count) };
  return { apiVersion: 'example.test/v1', kind: 'Counter', metadata, count };
}

const changed = (count: number, uid?: string): WatchEvent<Counter> => ({
  type: 'MODIFIED',
  object: counter(count, uid),
});
const apiError = (code: number, reason: string) =>
  new ApiError({ apiVersion: 'v1', kind: 'Status', metadata: {}, status: 'Failure', code, reason, message: reason });

/** A server whose reads and watches are these, one after the other; a watch after the last one stays open until the signal. */
function serverOf(reads: (Counter | ApiError)[], watches: Step[]) {
  const from: (string | undefined)[] = [];
  const next = async () => {
    const read = reads.shift();
    assert.ok(read !== undefined, 'it was read once more than expected');
    if (read instanceof ApiError) throw read;
    return read;
  };
  const client = {
    get: next,
    watch: async function* (
      _type: unknown,
      { resourceVersion, signal }: { resourceVersion: string; signal: AbortSignal },
    ) {
      from.push(resourceVersion);
      const step = watches.shift();
      if (step instanceof ApiError) throw step;
      if (step !== undefined) yield* step;
      else await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    },
  } as unknown as Pick<ResourceClient, 'get' | 'watch'>;
  return { client, from };
}

const key = { namespace: 'default', name: 'a' };
const waitFor = (client: Pick<ResourceClient, 'get' | 'watch'>, more: { signal?: AbortSignal; known?: Counter } = {}) =>
  objectWhen<Counter>(client, SANDBOXES, key, {
    accepts: ({ count }) => count >= 3,
    signal: new AbortController().signal,
    ...more,
  });

describe('the wait for one object', () => {
  it('ends at once where it is as wanted already', async () => {
    const { client, from } = serverOf([counter(3)], []);
    assert.deepEqual(await waitFor(client), { object: counter(3), outcome: 'accepted' });
    assert.deepEqual(from, []);
  });

  it('reads nothing that is known, and watches from there', async () => {
    const { client, from } = serverOf([], [[changed(2), changed(3)]]);
    assert.deepEqual(await waitFor(client, { known: counter(1) }), { object: counter(3), outcome: 'accepted' });
    assert.deepEqual(from, ['1']);
  });

  it('goes on when the server ends the watch, with what it missed in between', async () => {
    const { client, from } = serverOf([counter(1), counter(2)], [[changed(1)], [changed(3)]]);
    assert.deepEqual(await waitFor(client), { object: counter(3), outcome: 'accepted' });
    assert.deepEqual(from, ['1', '2']);
  });

  it('reads anew where the server has forgotten what came since', async () => {
    const { client } = serverOf([counter(1), counter(3)], [apiError(410, 'Expired')]);
    assert.deepEqual(await waitFor(client), { object: counter(3), outcome: 'accepted' });
  });

  it('tells one that was deleted from one of the same name that came after it', async () => {
    const deletions: [string, ReturnType<typeof serverOf>][] = [
      ['seen', serverOf([counter(1)], [[{ type: 'DELETED', object: counter(2) }]])],
      ['missed', serverOf([counter(1), apiError(404, 'NotFound')], [[]])],
      ['replaced', serverOf([counter(1)], [[changed(3, 'second')]])],
      ['replaced and missed', serverOf([counter(1), counter(3, 'second')], [[]])],
    ];
    for (const [name, { client }] of deletions)
      assert.deepEqual(await waitFor(client), { object: counter(1), outcome: 'deleted' }, name);
  });

  it('ends with the signal, and tells what it saw last', async () => {
    const ending = new AbortController();
    const { client } = serverOf([counter(1)], []);
    const waiting = waitFor(client, { signal: ending.signal });
    setImmediate(() => ending.abort());
    assert.deepEqual(await waiting, { object: counter(1), outcome: 'aborted' });
  });

  it('fails where the object is not there, or the server refuses', async () => {
    await assert.rejects(waitFor(serverOf([apiError(404, 'NotFound')], []).client), { code: 'NotFound' });
    await assert.rejects(waitFor(serverOf([counter(1)], [apiError(403, 'Forbidden')]).client), { code: 'Forbidden' });
  });
});
