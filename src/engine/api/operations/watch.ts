import { type Change, StoreError } from '../../store/index.ts';
import { expired, futureVersion, invalidOptions } from '../errors.ts';
import type { ApiObject } from '../object.ts';
import { type Endpoint, type OperationDependencies, present } from './context.ts';
import { type ListRequest, listObjects, matcher, type ObjectMatcher, parseRevision, prefixOf } from './read.ts';

/** What a watch asks for. */
export interface WatchRequest extends Omit<ListRequest, 'limit' | 'continue'> {
  signal: AbortSignal;
  /** Whether BOOKMARK events are wanted. */
  bookmarks: boolean;
  /** Milliseconds between bookmarks. */
  bookmarkIntervalMs: number;
  /** Whether the state at the start comes as ADDED events, ended by a marked bookmark. */
  sendInitialEvents?: boolean;
}

/** An event in the endpoint's version. */
export interface ObjectEvent {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  object: ApiObject;
}

/**
 * Checks a watch and starts it. The iteration holds no queue: it reads the store's history from where it is, so a slow reader costs
 * nothing and, once too far behind, ends with Expired. @throws ApiError BadRequest, Expired (410) at once or while iterating
 */
export function watchObjects(
  dependencies: OperationDependencies,
  endpoint: Endpoint,
  request: WatchRequest,
): AsyncGenerator<ObjectEvent> {
  const matches = matcher(endpoint, request);
  const { store } = dependencies;
  const asked =
    request.resourceVersion === undefined || request.resourceVersion === ''
      ? undefined
      : parseRevision(request.resourceVersion);
  if (asked !== undefined && asked > store.revision) throw futureVersion(asked, store.revision);
  checkInitialEvents(request);
  // Unset and 0 mean: any state of now, then what follows it.
  const fromNow = request.sendInitialEvents ?? (asked === undefined || asked === 0);
  const start = fromNow || asked === undefined || asked === 0 ? undefined : asked;
  if (start !== undefined) changesAfter(dependencies, endpoint, start);
  return events(dependencies, endpoint, request, matches, start, fromNow);
}

function checkInitialEvents({ sendInitialEvents, resourceVersionMatch }: WatchRequest): void {
  const problem =
    sendInitialEvents !== undefined && resourceVersionMatch !== 'NotOlderThan'
      ? 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'
      : sendInitialEvents === undefined && resourceVersionMatch !== undefined && resourceVersionMatch !== ''
        ? 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided'
        : undefined;
  if (problem !== undefined)
    throw invalidOptions('ListOptions', [
      { field: 'resourceVersionMatch', reason: 'FieldValueForbidden', message: `Forbidden: ${problem}` },
    ]);
}

async function* events(
  dependencies: OperationDependencies,
  endpoint: Endpoint,
  request: WatchRequest,
  matches: ObjectMatcher,
  start: number | undefined,
  initial: boolean,
): AsyncGenerator<ObjectEvent> {
  const { store } = dependencies;
  let position = start ?? store.revision;
  if (initial) {
    // From here to the first pause no write can come in between: the list and the position are of one moment.
    const page = listObjects(dependencies, endpoint, withoutVersion(request));
    position = Number(page.resourceVersion);
    for (const object of page.items) yield { type: 'ADDED', object };
    if (request.sendInitialEvents && request.bookmarks) yield bookmark(endpoint, position, true);
  }
  const prefix = prefixOf(endpoint, request.namespace);
  const bell = createBell(request.bookmarkIntervalMs, request.signal, (listener) =>
    store.subscribe(endpoint.collection, listener),
  );
  try {
    while (!request.signal.aborted) {
      const seen = store.revision;
      for (const change of changesAfter(dependencies, endpoint, position)) {
        position = change.revision;
        const event = change.key.startsWith(prefix) ? eventOf(endpoint, change, matches) : undefined;
        if (event !== undefined) yield event;
        if (request.signal.aborted) return;
      }
      position = Math.max(position, seen);
      const rung = await bell.next(() => changesAfter(dependencies, endpoint, position).length > 0);
      if (rung === 'interval' && request.bookmarks && !request.signal.aborted)
        yield bookmark(endpoint, position, false);
    }
  } finally {
    bell.close();
  }
}

function withoutVersion({ namespace, labelSelector, fieldSelector }: WatchRequest): ListRequest {
  return {
    ...(namespace === undefined ? {} : { namespace }),
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
  };
}

function changesAfter({ store }: OperationDependencies, endpoint: Endpoint, revision: number): Change[] {
  try {
    return store.changes(endpoint.collection, revision);
  } catch (error) {
    if (error instanceof StoreError && error.code === 'expired') throw expired(error.message);
    throw error;
  }
}

/** What a change is for a watcher with selectors: objects come into and go out of its sight. */
function eventOf(endpoint: Endpoint, change: Change, matches: ObjectMatcher): ObjectEvent | undefined {
  const object = present(endpoint, change.object);
  const before = change.previous !== undefined && matches(present(endpoint, change.previous));
  const after = change.type !== 'DELETED' && matches(object);
  if (after) return { type: before ? 'MODIFIED' : 'ADDED', object };
  return before ? { type: 'DELETED', object } : undefined;
}

function bookmark(endpoint: Endpoint, revision: number, endOfInitial: boolean): ObjectEvent {
  const metadata = {
    resourceVersion: String(revision),
    creationTimestamp: null,
    ...(endOfInitial ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}),
  };
  return {
    type: 'BOOKMARK',
    object: { kind: endpoint.kind.kind, apiVersion: endpoint.apiVersion, metadata } as unknown as ApiObject,
  };
}

interface Bell {
  next(alreadyThere: () => boolean): Promise<'change' | 'interval' | 'end'>;
  close(): void;
}

/** Wakes a watch for a change, for its next bookmark, or at its end. */
function createBell(intervalMs: number, signal: AbortSignal, subscribe: (listener: () => void) => () => void): Bell {
  let ring: ((why: 'change' | 'interval' | 'end') => void) | undefined;
  const unsubscribe = subscribe(() => ring?.('change'));
  const timer = setInterval(() => ring?.('interval'), intervalMs);
  timer.unref();
  // A caller who aborts may never ask for another event: let go of everything at once.
  const onAbort = () => {
    close();
    ring?.('end');
  };
  const close = () => {
    unsubscribe();
    clearInterval(timer);
    signal.removeEventListener('abort', onAbort);
  };
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) close();
  return {
    async next(alreadyThere) {
      const { promise, resolve } = Promise.withResolvers<'change' | 'interval' | 'end'>();
      ring = resolve;
      if (signal.aborted) return 'end';
      if (alreadyThere()) return 'change';
      const why = await promise;
      ring = undefined;
      return why;
    },
    close,
  };
}
