import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2Server, Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';
import { asUpgrade, type EdgeRequest, type EdgeResponse, Http2Tunnel } from './http2/index.ts';
import { type Problem, sendProblem } from './problem.ts';

/** Who takes requests, of whichever HTTP. */
export interface FrontHandlers {
  take(request: IncomingMessage, response: ServerResponse): void;
  /** The client waits to be told to send its body. */
  takeExpecting(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

const NOTHING = Buffer.alloc(0);

/** Hands the requests of HTTP/2 to those who take the ones of HTTP/1.1. */
export function takeHttp2Requests(server: Http2Server, handlers: FrontHandlers, maxHeaderBytes: number): void {
  const tooLarge: Problem = {
    code: 'headers_too_large',
    detail: `Request line and headers may have ${maxHeaderBytes} bytes together.`,
  };
  const checked =
    (handle: (request: IncomingMessage, response: ServerResponse) => void) =>
    (request: Http2ServerRequest, response: Http2ServerResponse) => {
      // What a client took back before it was heard of is nobody's business, least of all a sandbox's.
      if ((response as EdgeResponse).destroyed) return;
      if ((request as EdgeRequest).headerBytes > maxHeaderBytes) refuse(response, tooLarge);
      else handle(request as never, response as never);
    };
  server.on('request', checked(handlers.take));
  server.on('checkContinue', checked(handlers.takeExpecting));
  server.on(
    'connect',
    checked((request, response) => {
      const asked = asUpgrade(request as never);
      if (asked === undefined)
        refuse(response as never, {
          code: 'bad_request',
          detail: 'CONNECT opens WebSockets alone here (RFC 8441).',
        });
      else {
        const key = asked.headers['sec-websocket-key'] ?? '';
        handlers.upgrade(asked as never, new Http2Tunnel(asked.stream, key), NOTHING);
      }
    }) as never,
  );
}

function refuse(response: Http2ServerResponse, problem: Problem): void {
  sendProblem(response as never, problem, randomUUID());
}
