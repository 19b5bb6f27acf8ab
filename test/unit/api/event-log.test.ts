import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createEventLog, type SandboxEvent } from '../../../src/router/api/event-log.ts';
import { type EventSink, followEvents, type StreamEnd } from '../../../src/router/api/event-stream.ts';
import type { Principal } from '../../../src/router/identity/index.ts';
import type { Route, RouteListener } from '../../../src/router/table/index.ts';

type State = 'running' | 'starting' | 'pausing' | 'paused' | 'finished' | 'pooled';

/** A table that a test changes by hand. */
function handTable() {
  const routes = new Map<string, Route>();
  const listeners = new Set<RouteListener>();
  const routable = new WeakSet<Route>();
  return {
    table: {
      routes: () => routes.values(),
      isRoutable: (route: Route) => routable.has(route),
      onChange: (listener: RouteListener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    listeners,
    set: (namespace: string, name: string, state: State, uid = 'u') => {
      const running = state === 'running' || state === 'starting' || state === 'pooled';
      const sandbox = { namespace, name, uid, running, suspended: state === 'paused', finished: state === 'finished' };
      const route = { sandbox: { ...sandbox, pooled: state === 'pooled' } } as unknown as Route;
      if (state === 'running') routable.add(route);
      routes.set(`${namespace}/${name}`, route);
      for (const listener of listeners) listener(namespace, name, route);
    },
    remove: (namespace: string, name: string) => {
      routes.delete(`${namespace}/${name}`);
      for (const listener of listeners) listener(namespace, name, undefined);
    },
  };
}

const logOf = (hand: ReturnType<typeof handTable>, size?: number) =>
  createEventLog({ table: hand.table, epoch: 'e', now: () => new Date(0), ...(size === undefined ? {} : { size }) });

describe('the log of events', () => {
  const lives: [what: string, states: (State | 'gone')[], expected: string][] = [
    [
      'a life',
      ['starting', 'running', 'pausing', 'paused', 'starting', 'running', 'gone'],
      'created starting running pausing paused waking running deleted',
    ],
    ['a pause that is cancelled', ['running', 'pausing', 'running'], 'created running pausing running'],
    ['a claimed member of a pool', ['pooled', 'pooled', 'running'], 'claimed running'],
    ['a member that is never claimed', ['pooled', 'gone'], ''],
    ['an end', ['running', 'finished', 'gone'], 'created running finished deleted'],
    ['a pod that is lost', ['running', 'starting', 'running'], 'created running starting running'],
    ['changes that change nothing', ['running', 'running', 'running'], 'created running'],
  ];
  for (const [what, states, expected] of lives)
    it(`tells ${what}`, () => {
      const hand = handTable();
      const heard: SandboxEvent[] = [];
      logOf(hand).subscribe((event) => heard.push(event));
      for (const state of states) state === 'gone' ? hand.remove('a', 'x') : hand.set('a', 'x', state);
      assert.equal(heard.map(({ type }) => type).join(' '), expected);
    });

  it('tells nothing of what was there before, and follows the table only from its first subscriber on', () => {
    const hand = handTable();
    const log = logOf(hand);
    hand.set('a', 'x', 'running');
    assert.equal(hand.listeners.size, 0);
    const heard: string[] = [];
    log.subscribe(({ type }) => heard.push(type));
    hand.set('a', 'x', 'running');
    assert.deepEqual(heard, []);
    hand.set('a', 'x', 'running', 'another UID');
    assert.deepEqual(heard, ['created', 'running']);
  });

  it('goes on after an id while it is kept, and says when it is not', () => {
    const hand = handTable();
    const log = logOf(hand, 10);
    log.subscribe(() => {});
    assert.deepEqual(log.since('e-0'), []);
    for (let index = 0; index < 7; index++) hand.set('a', `x${index}`, 'running');
    assert.equal(log.latestId(), 'e-14');
    assert.deepEqual(
      log.since('e-12')?.map(({ id }) => id),
      ['e-13', 'e-14'],
    );
    assert.deepEqual(log.since('e-14'), []);
    for (let index = 0; index < 50; index++) hand.set('a', `y${index}`, 'running');
    for (const unknown of ['e-1', 'e-999', 'other-3', 'nonsense', '', 'e-'])
      assert.equal(log.since(unknown), undefined, unknown);
  });
});

describe('a stream of events', () => {
  const principal = (namespaces: string[], more: Partial<Principal> = {}) =>
    ({ namespaces: new Set(namespaces), sandbox: undefined, mayProxy: undefined, ...more }) as unknown as Principal;

  function collector(backlogBytes = () => 0) {
    const heard: string[] = [];
    const ends: StreamEnd[] = [];
    const sink: EventSink = {
      send: ({ type, namespace }) => heard.push(`${namespace} ${type}`),
      reset: () => heard.push('reset'),
      beat: () => heard.push('beat'),
      backlogBytes,
      end: (reason) => ends.push(reason),
    };
    return { heard, ends, sink };
  }

  const start = (log: ReturnType<typeof logOf>, sink: EventSink, caller: Principal, more: object = {}) =>
    followEvents({
      log,
      sink,
      principal: caller,
      namespace: undefined,
      lastEventId: undefined,
      again: async () => caller,
      ...more,
    });

  it('tells of the namespaces of its caller alone, or of the one that is asked for', () => {
    const hand = handTable();
    const log = logOf(hand);
    const [all, one, single] = [collector(), collector(), collector()];
    const streams = [
      start(log, all.sink, principal(['a', 'b'])),
      start(log, one.sink, principal(['a', 'b']), { namespace: 'c' }),
      start(log, single.sink, principal(['a'], { sandbox: { namespace: 'a', name: 'other' } })),
    ];
    for (const namespace of ['a', 'b', 'c']) hand.set(namespace, 'x', 'running');
    assert.deepEqual(all.heard, ['a created', 'a running', 'b created', 'b running']);
    assert.deepEqual([one.heard, single.heard], [[], []]);
    for (const stream of streams) stream.left();
  });

  it('ends for who does not read, and tells nothing afterwards', () => {
    const hand = handTable();
    let backlog = 0;
    const { heard, ends, sink } = collector(() => backlog);
    start(logOf(hand), sink, principal(['a']));
    hand.set('a', 'x', 'starting');
    backlog = 2_000_000;
    hand.set('a', 'x', 'running');
    backlog = 0;
    hand.set('a', 'x', 'paused');
    assert.deepEqual(ends, ['too_slow']);
    assert.deepEqual(heard, ['a created', 'a starting']);
  });

  it('keeps the order of events where the cluster decides, and tells none without its word', async () => {
    const hand = handTable();
    const waiting: ((answer: boolean) => void)[] = [];
    let refuse = false;
    const mayProxy = () => {
      if (refuse) throw new Error('the API server is away');
      return new Promise<boolean>((resolve) => waiting.push(resolve));
    };
    const { heard, sink } = collector();
    const stream = start(logOf(hand), sink, principal(['a'], { mayProxy }));
    hand.set('a', 'x', 'running');
    const answerNext = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      waiting.shift()?.(true);
      await new Promise((resolve) => setImmediate(resolve));
    };
    assert.deepEqual(heard, []);
    await answerNext();
    assert.deepEqual(heard, ['a created']);
    await answerNext();
    assert.deepEqual(heard, ['a created', 'a running']);
    refuse = true;
    hand.set('a', 'x', 'paused');
    await answerNext();
    assert.deepEqual(heard, ['a created', 'a running']);
    stream.left();
  });

  it('says first that what came between can not be told', () => {
    const hand = handTable();
    const { heard, sink } = collector();
    start(logOf(hand), sink, principal(['a']), { lastEventId: 'of-another-1' }).left();
    assert.deepEqual(heard, ['reset']);
  });
});
