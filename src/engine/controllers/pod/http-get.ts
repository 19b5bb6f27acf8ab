import { Agent, request } from 'undici';
import type { Container, HttpGetAction } from '../../../kubernetes/index.ts';

/** Where to send it. */
export interface HttpGetTarget {
  address: string;
  container: Container;
}

/**
 * Asks a container as a kubelet does: no redirect is followed, and no certificate is checked, as nobody could have issued one for the Pod's address. Always the
 * Pod itself: what the engine reaches beside it is nobody's to ask for. Resolves with the status code. @throws Error without an answer
 */
export async function httpGet(action: HttpGetAction, target: HttpGetTarget, signal: AbortSignal): Promise<number> {
  const { path = '/', httpHeaders = [], scheme = 'HTTP' } = action;
  const port = portNumber(target.container, action.port);
  const dispatcher = scheme === 'HTTPS' ? new Agent({ connect: { rejectUnauthorized: false } }) : undefined;
  try {
    const { statusCode, body } = await request(
      `${scheme.toLowerCase()}://${target.address}:${port}${path.startsWith('/') ? path : `/${path}`}`,
      {
        headers: Object.fromEntries([['connection', 'close'], ...httpHeaders.map(({ name, value }) => [name, value])]),
        signal,
        ...(dispatcher === undefined ? {} : { dispatcher }),
      },
    );
    await body.dump();
    return statusCode;
  } finally {
    await dispatcher?.destroy();
  }
}

/** Number of a port that may be named. */
export function portNumber(container: Container, port: number | string | undefined): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  return named ?? Number(port);
}
