import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ApiError,
  createReflector,
  type KubernetesObject,
  type ListOptions,
  PODS,
  type ResourceClient,
  type WatchEvent,
  type WatchOptions,
} from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';

const object = (name: string, resourceVersion = '1'): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'n', resourceVersion },
});

const apiError = (code: number, reason: string) =>
  new ApiError({ apiVersion: 'v1', kind: 'Status', metadata: {}, status: 'Failure', reason, code });

type WatchScript = (options: WatchOptions) => AsyncIterable<WatchEvent<KubernetesObject>>;

/** Events given up front, then silence until the signal aborts. */
const steady = (...events: WatchEvent<KubernetesObject>[]): WatchScript =>
  async function* ({ signal }) {
    yield* events;
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  };

/** A reflector over scripted lists and watches; the last script of each is repeated. */
function world(lists: ((options: ListOptions) => KubernetesObject[] | Error)[], watches: WatchScript[]) {
  const asked: string[] = [];
  const told: string[] = [];
  let listed = 0;
  let watched = 0;
  const client = {
    async list(_type, options = {}) {
      asked.push(`list${options.continue === undefined ? '' : ` ${options.continue}`}`);
      const items = (lists[Math.min(listed++, lists.length - 1)] as (options: ListOptions) => unknown)(options);
      if (items instanceof Error) throw items;
      const more = options.limit !== undefined && (items as unknown[]).length > options.limit;
      return { items, resourceVersion: String(listed * 10), ...(more ? { continue: `page-${listed}` } : {}) };
    },
    watch(_type, options) {
      asked.push(`watch ${options.resourceVersion}`);
      return (watches[Math.min(watched++, watches.length - 1)] as WatchScript)(options);
    },
  } as ResourceClient;
  const failures: unknown[] = [];
  const reflector = createReflector({
    client,
    type: PODS,
    random: () => 0,
    listing: () => told.push('listing'),
    listed: () => told.push('listed'),
    upserted: ({ metadata }) => told.push(`+${metadata.name}`),
    deleted: ({ metadata }) => told.push(`-${metadata.name}`),
    failed: (error) => failures.push(error),
  });
  return { reflector, asked, told, failures };
}

describe('a reflector', () => {
  it('tells the list, then every change', async () => {
    const { reflector, asked, told } = world(
      [() => [object('a')]],
      [
        steady(
          { type: 'ADDED', object: object('b', '11') },
          { type: 'MODIFIED', object: object('a', '12') },
          { type: 'DELETED', object: object('b', '13') },
        ),
      ],
    );
    await reflector.synced;
    await until('the events', () => told.includes('-b'));
    assert.deepEqual(told, ['listing', '+a', 'listed', '+b', '+a', '-b']);
    assert.deepEqual(asked, ['list', 'watch 10']);
    reflector.close();
  });

  it('goes on from the newest bookmark when a watch ends', async () => {
    const ending: WatchScript = async function* () {
      yield { type: 'BOOKMARK', object: object('', '42') };
    };
    const { reflector, asked, told } = world([() => []], [ending, steady()]);
    await until('the second watch', () => asked.length === 3);
    assert.deepEqual(asked, ['list', 'watch 10', 'watch 42']);
    assert.deepEqual(told, ['listing', 'listed']);
    reflector.close();
  });

  it('lists anew when its version is too old, and is not told of it as a failure', async () => {
    const expired: WatchScript = () => {
      throw apiError(410, 'Expired');
    };
    const { reflector, asked, failures } = world([() => [object('a')], () => [object('b')]], [expired, steady()]);
    await until('the second watch', () => asked.length === 4);
    assert.deepEqual(asked, ['list', 'watch 10', 'list', 'watch 20']);
    assert.deepEqual(failures, []);
    reflector.close();
  });

  it('keeps what it told while the server is away, and goes on where it was', async () => {
    const lost: WatchScript = async function* () {
      yield { type: 'ADDED', object: object('b', '15') };
      throw apiError(503, 'Unreachable');
    };
    const { reflector, asked, told, failures } = world([() => [object('a')]], [lost, lost, steady()]);
    await until('the third watch', () => asked.length === 4);
    assert.deepEqual(asked, ['list', 'watch 10', 'watch 15', 'watch 15']);
    assert.deepEqual(told.slice(0, 4), ['listing', '+a', 'listed', '+b']);
    assert.equal(
      told.some((line) => line.startsWith('-')),
      false,
    );
    assert.equal(failures.length, 2);
    reflector.close();
  });

  it('starts a list over when it breaks off, and is synced only at its end', async () => {
    let complete = false;
    const { reflector, told } = world(
      [
        () => apiError(500, 'InternalError'),
        () => {
          complete = true;
          return [object('a')];
        },
      ],
      [steady()],
    );
    assert.equal(reflector.isSynced(), false);
    await reflector.synced;
    assert.equal(complete, true);
    assert.deepEqual(told, ['listing', 'listing', '+a', 'listed']);
    reflector.close();
  });

  it('does not spin when a server ends every watch at once', async () => {
    const ending: WatchScript = async function* () {};
    const { reflector, asked } = world([() => []], [ending]);
    await reflector.synced;
    const startedMs = performance.now();
    await until('three watches', () => asked.length >= 4);
    assert.ok(performance.now() - startedMs > 500);
    reflector.close();
  });
});
