import { createServer, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

/** What a TLS listener is made with; PEM. */
export interface TlsMaterial {
  certificate: Buffer;
  key: Buffer;
  /** Authorities of client certificates; clients are asked for none where undefined. */
  clientAuthority: Buffer | undefined;
}

/** TLS of the proxy's port. */
export interface TlsOptions {
  /** What holds now. */
  material(): TlsMaterial;
  /** Connections without a certificate of the client authorities are refused; otherwise they are anonymous to `mtls`. */
  requireClientCertificate: boolean;
  /** Told whenever the material has changed. */
  onChanged(changed: () => void): void;
}

/** The server of the proxy's port: plain HTTP, or HTTP over TLS 1.2 and later, whose certificates can be replaced while it runs. */
export function createFrontListener(options: ServerOptions, tls: TlsOptions | undefined): Server {
  if (tls === undefined) return createServer(options);
  const server = createTlsServer({
    ...options,
    ...contextOf(tls.material()),
    ALPNProtocols: ['h2', 'http/1.1'],
    requestCert: tls.material().clientAuthority !== undefined,
    rejectUnauthorized: tls.requireClientCertificate,
    handshakeTimeout: 10_000,
    // A resumed session would keep who its client was when it began: everybody shows the certificate again.
    sessionTimeout: 1,
  });
  tls.onChanged(() => server.setSecureContext(contextOf(tls.material())));
  return server;
}

function contextOf({ certificate, key, clientAuthority }: TlsMaterial): object {
  return {
    cert: certificate,
    key,
    minVersion: 'TLSv1.2',
    ...(clientAuthority === undefined ? {} : { ca: clientAuthority }),
  };
}
