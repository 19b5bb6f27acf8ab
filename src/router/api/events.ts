import type { ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { WebSocket } from 'ws';
import type { Principal } from '../identity/index.ts';
import { ProblemError } from '../problem.ts';
import type { Callers } from './caller.ts';
import type { EventLog } from './event-log.ts';
import { type EventSink, followEvents, STREAM_ENDS, type StreamEnd } from './event-stream.ts';
import * as schemas from './schemas.ts';

/** Streams in all, and of one tenant. */
const MOST_STREAMS = 1000;
const MOST_STREAMS_OF_TENANT = 100;
/** What a consumer that was told to go may take to read that. */
const FAREWELL_MS = 2000;

/** Open streams of events. */
export interface EventStreams {
  /** Tells all who follow that this router goes. */
  closeAll(): void;
}

/** `GET /-/v1/events`, as Server-Sent Events or, where the request asks to upgrade, as a WebSocket; scope `manage`. */
export function registerEventRoutes(fastify: FastifyInstance, callers: Callers, log: EventLog): EventStreams {
  const open = new Map<{ end(reason: StreamEnd): void }, string>();
  const principals = new WeakMap<object, Principal>();

  function follow(request: FastifyRequest, sink: EventSink, lastEventId: string | undefined): { left(): void } {
    const principal = principals.get(request.raw) as Principal;
    const { namespace } = request.query as { namespace?: string };
    const again = () => callers.of(request);
    const stream = followEvents({ log, sink, principal, namespace, lastEventId, again });
    open.set(stream, principal.tenant.name);
    return {
      left: () => {
        open.delete(stream);
        stream.left();
      },
    };
  }

  fastify.route({
    method: 'GET',
    url: '/-/v1/events',
    schema: {
      summary: 'Changes of sandboxes, as Server-Sent Events or as a WebSocket',
      description:
        'Each event is one JSON object: id, time, type (created, claimed, starting, running, pausing, paused, waking, finished, deleted), namespace, sandbox, state. With Last-Event-ID (or ?lastEventId=) it goes on where it was; "reset" says that this can not be, and lists must be read anew.',
      querystring: schemas.eventsQuery,
      response: {
        200: {
          description: 'The stream.',
          content: { 'text/event-stream': { schema: { type: 'string' } } },
        },
        '4xx': schemas.problem,
      },
    },
    // Before the upgrade, so that a refusal is an answer.
    preHandler: async (request) => {
      const principal = await callers.of(request);
      const ofTenant = [...open.values()].filter((name) => name === principal.tenant.name).length;
      if (open.size >= MOST_STREAMS || ofTenant >= MOST_STREAMS_OF_TENANT)
        throw new ProblemError({
          code: 'rate_limited',
          detail: `There may be ${MOST_STREAMS_OF_TENANT} streams of events of a tenant, ${MOST_STREAMS} in all.`,
          retryAfterSeconds: 10,
        });
      principals.set(request.raw, principal);
    },
    handler: (request, reply) => {
      reply.hijack();
      const { raw } = reply;
      raw.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        // Some proxies keep streams back otherwise.
        'x-accel-buffering': 'no',
      });
      raw.write(': events follow\n\n');
      const stream = follow(request, serverSentEvents(raw), lastEventIdOf(request));
      raw.on('close', stream.left);
    },
    wsHandler: (socket, request) => {
      const stream = follow(request, webSocketEvents(socket), lastEventIdOf(request));
      socket.on('close', stream.left);
      // Nothing is said to us but pongs and goodbye.
      socket.on('message', () => socket.close(1003, 'nothing is expected here'));
    },
  });

  return {
    closeAll: () => {
      for (const stream of open.keys()) stream.end('going_away');
    },
  };
}

function lastEventIdOf(request: FastifyRequest): string | undefined {
  const header = request.headers['last-event-id'];
  return (typeof header === 'string' ? header : undefined) ?? (request.query as { lastEventId?: string }).lastEventId;
}

function serverSentEvents(response: ServerResponse): EventSink {
  return {
    send: (event) => void response.write(`id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`),
    reset: (latestId) => void response.write(`id: ${latestId}\nevent: reset\ndata: {}\n\n`),
    beat: () => void response.write(': \n\n'),
    backlogBytes: () => response.writableLength,
    end: (reason) => {
      response.end(`event: end\ndata: ${JSON.stringify({ code: reason, detail: STREAM_ENDS[reason].detail })}\n\n`);
      setTimeout(() => response.destroy(), FAREWELL_MS).unref();
    },
  };
}

function webSocketEvents(socket: WebSocket): EventSink {
  return {
    send: (event) => socket.send(JSON.stringify(event)),
    reset: (latestId) => socket.send(JSON.stringify({ id: latestId, type: 'reset' })),
    beat: () => socket.ping(),
    backlogBytes: () => socket.bufferedAmount,
    end: (reason) => {
      const { webSocketCode, detail } = STREAM_ENDS[reason];
      socket.close(webSocketCode, detail);
      setTimeout(() => socket.terminate(), FAREWELL_MS).unref();
    },
  };
}
