import websocket, { type WebSocket } from '@fastify/websocket';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { badRequest, failure, invalid } from '../errors.ts';
import { isSet } from '../http/flag.ts';
import { chooseContainer, type PodLogs } from '../http/pod-log.ts';
import { type ApiObject, text } from '../object.ts';
import type { Operations } from '../operations/index.ts';
import { CHANNEL_PROTOCOLS, serveCommand, serveOutput } from './channels.ts';
import type { PodStreams } from './pod-streams.ts';
import { PORT_CHANNEL_PROTOCOL, servePortChannels, serveTunnel, TUNNEL_PROTOCOL } from './port-forward.ts';

/** What streaming is served with. */
export interface StreamingDependencies {
  operations: Operations;
  podStreams?: PodStreams;
  podLogs?: PodLogs;
}

const MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024;
/** Subresources of Pods that are connections, and the protocols of each. */
const PROTOCOLS: Record<string, readonly string[]> = {
  exec: CHANNEL_PROTOCOLS,
  attach: CHANNEL_PROTOCOLS,
  portforward: [TUNNEL_PROTOCOL, PORT_CHANNEL_PROTOCOL],
};

/** What a request was found to ask for, ready to start once its socket is there. */
interface Prepared {
  protocol: string;
  serve: (socket: WebSocket) => void;
}

/** Serves `exec`, `attach` and `portforward` of Pods over WebSockets. All that can be wrong with a request is answered before the upgrade. */
export async function mountStreaming(server: FastifyInstance, dependencies: StreamingDependencies): Promise<void> {
  const prepared = new WeakMap<object, Prepared>();
  await server.register(async (scope) => {
    await scope.register(websocket, {
      options: { maxPayload: MESSAGE_LIMIT_BYTES },
      errorHandler: (_error, socket) => socket.terminate(),
    });
    // The tunnel's name has a slash, which RFC 6455 has no room for and the WebSocket library refuses: the protocol is agreed on here instead.
    scope.websocketServer.on('headers', (headers, request) => {
      const protocol = prepared.get(request)?.protocol;
      if (protocol !== undefined) headers.push(`Sec-WebSocket-Protocol: ${protocol}`);
    });
    for (const [subresource, protocols] of Object.entries(PROTOCOLS)) {
      const url = `/api/v1/namespaces/:namespace/pods/:name/${subresource}`;
      scope.route({
        method: 'GET',
        url,
        preHandler: async (request) => {
          const serve = prepare(dependencies, subresource, request);
          const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((part) => part.trim());
          const protocol = protocols.find((candidate) => offered.includes(candidate));
          if (!request.ws || protocol === undefined) throw upgradeRequired(subresource);
          delete request.raw.headers['sec-websocket-protocol'];
          prepared.set(request.raw, { protocol, serve: (socket) => serve(socket, protocol) });
        },
        handler: () => Promise.reject(upgradeRequired(subresource)),
        wsHandler: (socket, request) => prepared.get(request.raw)?.serve(socket),
      });
      // Clients that failed to upgrade try again with SPDY, and show the answer to that.
      server.post(url, async (request) => {
        prepare(dependencies, subresource, request);
        throw upgradeRequired(subresource);
      });
    }
  });
}

/** 400 for a request that is no WebSocket handshake. */
export function upgradeRequired(subresource: string): Error {
  return badRequest(
    `pods/${subresource} is a WebSocket here: send a WebSocket handshake with one of the protocols ${PROTOCOLS[subresource]?.join(', ')}, as kubectl 1.31 and later do`,
  );
}

/** Checks everything but the protocol. @throws ApiError that says what is wrong */
function prepare(
  { operations, podStreams, podLogs }: StreamingDependencies,
  subresource: string,
  request: FastifyRequest,
): (socket: WebSocket, protocol: string) => void {
  const { namespace = '', name = '' } = request.params as Record<string, string>;
  const pod = operations.get(operations.endpoint('', 'v1', 'pods'), { namespace, name });
  if (podStreams === undefined || podLogs === undefined)
    throw failure(501, 'NotImplemented', `pods/${subresource} is not served: this engine runs no pods`);
  const query = new URLSearchParams(request.url.split('?')[1] ?? '');
  const phase = text(pod, 'status', 'phase');
  if (phase !== 'Running') throw badRequest(`pod ${name} is not running: its phase is ${phase}`);

  if (subresource === 'portforward') {
    const connect = (port: number) => podStreams.connect(pod, port);
    const ports = parsePorts(query.getAll('ports'));
    return (socket, protocol) => {
      if (protocol === TUNNEL_PROTOCOL) serveTunnel(socket, connect, name);
      else if (ports.length > 0) servePortChannels(socket, connect, ports);
      else socket.close(1008, 'query parameter "ports" is required');
    };
  }
  const container = chooseContainer(pod, query.get('container') ?? undefined);
  const wanted = {
    stdin: isSet(query.get('stdin')),
    stdout: isSet(query.get('stdout')),
    stderr: isSet(query.get('stderr')),
  };
  if (!wanted.stdin && !wanted.stdout && !wanted.stderr)
    throw badRequest('you must specify at least one of stdin, stdout, stderr');
  if (subresource === 'attach') return attach(podLogs, pod, container);
  const command = query.getAll('command');
  if (command.length === 0)
    throw invalid({ group: '', plural: 'pods', kind: 'PodExecOptions' }, name, [
      { field: 'command', reason: 'FieldValueRequired', message: 'Required value: the command to run' },
    ]);
  const asked = { container, command, stdin: wanted.stdin, terminal: isSet(query.get('tty')) };
  return (socket) => void serveCommand(socket, () => podStreams.exec(pod, asked), wanted);
}

/** A container's output from now on. Containers here have no input to attach to (`stdin` of their spec). */
function attach(podLogs: PodLogs, pod: ApiObject, container: string): (socket: WebSocket) => void {
  return (socket) => {
    const left = new AbortController();
    socket.on('close', () => left.abort());
    const options = { container, follow: true, previous: false, timestamps: false, tailLines: 0, signal: left.signal };
    void serveOutput(socket, podLogs(pod.metadata.namespace ?? '', pod.metadata.name, options));
  };
}

function parsePorts(texts: string[]): number[] {
  const ports = texts.flatMap((part) => part.split(',')).map(Number);
  // Two channels a port, and the number of a channel is one byte.
  if (ports.length > 100) throw badRequest('query parameter "ports": at most 100 ports at once');
  for (const port of ports)
    if (!Number.isInteger(port) || port < 1 || port > 65535)
      throw badRequest(`query parameter "ports": ${JSON.stringify(texts.join(','))} names no port between 1 and 65535`);
  return ports;
}
