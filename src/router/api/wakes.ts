import type { FastifyInstance, FastifyReply } from 'fastify';
import { ProblemError } from '../problem.ts';
import type { RoutingTable } from '../table/index.ts';
import { sandboxOfWake, strangeWakeStatus, type Waker, type WakeStatus, wakeStatus } from '../wake/index.ts';
import type { Callers } from './caller.ts';
import { openEventStream } from './server-sent-events.ts';

/** What the state of wakes is told from. */
export interface WakeRoutesOptions {
  waker: Waker;
  table: RoutingTable;
}

/** How often a stream of phases says where in the queue its wake stands. */
const TELL_EVERY_MS = 1000;

/** `/-/v1/wakes/<id>`: the state of a wake as JSON, or as server-sent events; for callers who may reach its sandbox. */
export function registerWakeRoutes(
  fastify: FastifyInstance,
  callers: Callers,
  { waker, table }: WakeRoutesOptions,
): void {
  /** By the wake itself where this process began it, else by the table. @throws ProblemError if its sandbox is gone */
  function statusOf(id: string, namespace: string, name: string): WakeStatus {
    const wake = waker.find(id);
    if (wake !== undefined) return wakeStatus(wake, waker);
    const route = table.find(namespace, name);
    if (route === undefined) throw new ProblemError({ code: 'not_found', detail: 'There is no such wake.' });
    return strangeWakeStatus(id, route, table);
  }

  fastify.get(
    '/-/v1/wakes/:id',
    {
      schema: {
        summary: 'The state of a wake, as JSON or with Accept: text/event-stream as events',
        params: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] },
      },
    },
    async (request, reply) => {
      const principal = await callers.of(request, ['route', 'wake', 'manage']);
      const { id } = request.params as { id: string };
      const sandbox = sandboxOfWake(id);
      if (sandbox === undefined || !(await callers.maySee(principal, sandbox)))
        throw new ProblemError({ code: 'not_found', detail: 'There is no such wake.' });
      const tell = () => statusOf(id, sandbox.namespace, sandbox.name);
      const status = tell();
      if (/\btext\/event-stream\b/.test(request.headers.accept ?? ''))
        return streamStatus(reply, tell, waker.find(id)?.onChange ?? (() => () => {}));
      reply.header('cache-control', 'no-store');
      const wake = waker.find(id);
      if (status.status === 'waking')
        reply.header('retry-after', wake === undefined ? 1 : Math.max(1, Math.ceil(waker.retryAfterSeconds(wake))));
      return status;
    },
  );
}

function streamStatus(
  reply: FastifyReply,
  statusNow: () => WakeStatus,
  onChange: (listener: () => void) => () => void,
): FastifyReply {
  const stream = openEventStream(reply);
  const tell = () => {
    try {
      const status = statusNow();
      stream.send(status.status === 'waking' ? 'phase' : 'end', status);
      if (status.status !== 'waking') stream.close();
    } catch {
      // The sandbox is gone, and its name with it.
      stream.close();
    }
  };
  const stopListening = onChange(tell);
  const timer = setInterval(tell, TELL_EVERY_MS);
  stream.onClose(() => {
    stopListening();
    clearInterval(timer);
  });
  tell();
  return reply;
}
