import { connect as connectTcp, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls';
import type { SandboxRecord, UpstreamProtocol } from '../table/index.ts';

/** What is asked of the certificate of a sandbox that speaks TLS. */
export interface SandboxTls {
  /** PEM of the authorities that are believed; those of the system where undefined. */
  authority(): Buffer | undefined;
  /** `name`: the chain, and the sandbox's name in it. `ca`: the chain alone. `off`: nothing, so that whoever sits at the address is believed. */
  verify: 'name' | 'ca' | 'off';
}

/** Where a sandbox listens, and what it has to show there. */
export interface SandboxEndpoint {
  sandbox: Pick<SandboxRecord, 'name' | 'namespace'>;
  address: string;
  port: number;
  /** Whether half of the connection may end before the other. */
  halfOpen?: boolean;
}

/** Begins to dial a sandbox; errors come from the socket. `protocol` says whether by TLS, and for which HTTP. */
export function dialSandbox(
  { sandbox, address, port, halfOpen = false }: SandboxEndpoint,
  protocol: UpstreamProtocol,
  { authority, verify }: SandboxTls,
): Socket | TLSSocket {
  const to = { host: address, port, noDelay: true, allowHalfOpen: halfOpen };
  if (protocol === 'http' || protocol === 'h2c') return connectTcp(to);
  const ca = authority();
  return connectTls({
    ...to,
    ...(ca === undefined ? {} : { ca }),
    servername: certificateName(sandbox),
    minVersion: 'TLSv1.2',
    ALPNProtocols: [protocol === 'h2' ? 'h2' : 'http/1.1'],
    rejectUnauthorized: verify !== 'off',
    checkServerIdentity: verify === 'name' ? checkServerIdentity : () => undefined,
  });
}

/** Dials and waits until requests can be sent. @throws Error with `syscall` connect where nobody answers, or what is wrong with its TLS */
export function dialed(socket: Socket | TLSSocket, protocol: UpstreamProtocol, timeoutMs: number): Promise<Socket> {
  const secure = 'encrypted' in socket;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const error = Object.assign(new Error('the sandbox did not take the connection in time'), {
        code: 'UND_ERR_CONNECT_TIMEOUT',
        syscall: 'connect',
      });
      socket.destroy(error);
    }, timeoutMs);
    const settle = (error: Error | undefined) => {
      clearTimeout(timer);
      socket.off('error', settle);
      socket.off('close', closed);
      if (error === undefined) resolve(socket);
      else reject(error);
    };
    const closed = () => settle(new Error('the sandbox closed the connection'));
    socket.once('error', settle);
    socket.once('close', closed);
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      if (protocol === 'h2' && (socket as TLSSocket).alpnProtocol !== 'h2') {
        socket.destroy();
        settle(Object.assign(new Error('the sandbox does not offer h2'), { code: 'ERR_TLS_ALPN' }));
      } else settle(undefined);
    });
  });
}

/** Under which name a sandbox's certificate is looked for, and which it is told by SNI: that of its Service. */
export function certificateName({ name, namespace }: SandboxEndpoint['sandbox']): string {
  return `${name}.${namespace}.svc`;
}

/** What is wrong with the TLS of a sandbox, for whoever called it; undefined for errors of other kinds. */
export function tlsFailure(code: string): string | undefined {
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_ALPN'))
    return 'The sandbox does not speak TLS as it should.';
  const certificate =
    /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_|HOSTNAME_)/;
  return certificate.test(code) ? `The certificate of the sandbox is not to be believed (${code}).` : undefined;
}
