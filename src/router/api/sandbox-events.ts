import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { createReflector, EVENTS, type ResourceClient } from '../../kubernetes/index.ts';
import type { Principal } from '../identity/index.ts';
import {
  type EventObject,
  entryOf,
  eventsOf,
  type LedgerEntry,
  type LedgerSubject,
  readLedger,
} from '../ledger/index.ts';
import { ProblemError } from '../problem.ts';
import type { Callers } from './caller.ts';
import * as schemas from './schemas.ts';
import { openEventStream } from './server-sent-events.ts';

/** What the ledger is told from. */
export interface LedgerRoutesOptions {
  client: ResourceClient;
  /** Told of failures that are the router's own. */
  report(what: string, error: unknown): void;
}

/** Ledgers that are followed. */
export interface LedgerStreams {
  closeAll(): void;
}

/** Streams in all, and of one tenant: each is a watch of the API server. */
const MOST_STREAMS = 200;
const MOST_STREAMS_OF_TENANT = 20;
const BEAT_MS = 10_000;

/** `GET /-/v1/sandboxes/<name>/events`: its ledger as JSON, or as Server-Sent Events that go on; scope `manage`. */
export function registerLedgerRoutes(
  fastify: FastifyInstance,
  callers: Callers,
  { client, report }: LedgerRoutesOptions,
): LedgerStreams {
  const open = new Map<{ close(): void }, string>();

  function requirePlace({ tenant }: Principal): void {
    const ofTenant = [...open.values()].filter((name) => name === tenant.name).length;
    if (open.size >= MOST_STREAMS || ofTenant >= MOST_STREAMS_OF_TENANT)
      throw new ProblemError({
        code: 'rate_limited',
        detail: `There may be ${MOST_STREAMS_OF_TENANT} streams of ledgers of a tenant, ${MOST_STREAMS} in all.`,
        retryAfterSeconds: 10,
      });
  }

  /** Entries that are there in the order of time, then each as it comes or is counted again. */
  async function follow(request: FastifyRequest, reply: FastifyReply, subject: LedgerSubject, principal: Principal) {
    const after = afterIdOf(request);
    const known = (await readLedger(client, subject)).reverse();
    const stream = openEventStream(reply);
    const told = new Map<string, string>();
    const tell = (entry: LedgerEntry) => {
      const id = idOf(entry);
      if (told.get(entry.id) === id) return;
      told.set(entry.id, id);
      if (after === undefined || id > after) stream.send(entry.type, entry, id);
    };
    known.forEach(tell);
    const reflector = createReflector({
      client,
      type: EVENTS,
      namespace: subject.namespace,
      fieldSelector: eventsOf(subject),
      listing: () => {},
      listed: () => {},
      upserted: (object) => tell(entryOf(object as EventObject)),
      deleted: ({ metadata }) => void told.delete(metadata.name),
      failed: (error) => report('following the ledger of a sandbox', error),
    });
    const beat = setInterval(() => {
      callers.sandbox(request).then(stream.beat, stream.close);
    }, BEAT_MS);
    open.set(stream, principal.tenant.name);
    stream.onClose(() => {
      open.delete(stream);
      clearInterval(beat);
      reflector.close();
    });
  }

  fastify.get(
    '/-/v1/sandboxes/:name/events',
    {
      schema: {
        summary: 'Why a sandbox was woken, kept awake, paused or refused',
        description:
          'The last 200 entries, as long as the API server keeps Events. With Accept: text/event-stream they come in the order of time, and then as they come about; with Last-Event-ID only those after it.',
        params: schemas.nameParams,
        querystring: schemas.ledgerQuery,
        response: { 200: schemas.ledger, '4xx': schemas.problem },
      },
    },
    async (request, reply) => {
      const { route, principal } = await callers.sandbox(request);
      const { namespace, name, uid } = route.sandbox;
      const subject = { namespace, name, uid };
      if (!/\btext\/event-stream\b/.test(request.headers.accept ?? ''))
        return { items: await readLedger(client, subject) };
      requirePlace(principal);
      await follow(request, reply, subject, principal);
      return reply;
    },
  );

  return {
    closeAll: () => {
      for (const stream of open.keys()) stream.close();
    },
  };
}

/** Sorts as the entries do: by time, and what came about again has another. */
function idOf({ lastAt, id, count }: LedgerEntry): string {
  return `${lastAt}/${id}/${count}`;
}

function afterIdOf(request: FastifyRequest): string | undefined {
  const header = request.headers['last-event-id'];
  return (typeof header === 'string' ? header : undefined) ?? (request.query as { lastEventId?: string }).lastEventId;
}
