import { createPrivateKey, X509Certificate } from 'node:crypto';
import { ConfigError, type Settings } from '../config/index.ts';
import type { SandboxTls, TlsMaterial, TlsOptions } from '../router/index.ts';
import { followFile } from './follow-file.ts';
import { report } from './report.ts';

/** TLS of the proxy's port by the settings; undefined for plain HTTP. @throws ConfigError for files that do not fit together */
export function configuredTls(settings: Settings): TlsOptions | undefined {
  const { tlsCert, tlsKey, tlsClientCa, tlsClientAuth } = settings;
  if (tlsCert === undefined && tlsKey === undefined) {
    if (tlsClientCa !== undefined) throw new ConfigError('--tls-client-ca needs --tls-cert and --tls-key.');
    return undefined;
  }
  if (tlsCert === undefined || tlsKey === undefined)
    throw new ConfigError('--tls-cert and --tls-key go together: one of them is missing.');
  if (tlsClientAuth === 'required' && tlsClientCa === undefined)
    throw new ConfigError('--tls-client-auth required needs --tls-client-ca: no certificate could be believed.');
  const listeners: (() => void)[] = [];
  const bytes = (content: Buffer) => content;
  const certificate = followFile(tlsCert, bytes, () => renew());
  const key = followFile(tlsKey, bytes, () => renew());
  const clientAuthority = tlsClientCa === undefined ? undefined : followFile(tlsClientCa, authorities, () => renew());
  const read = () => fitting({ certificate: certificate(), key: key(), clientAuthority: clientAuthority?.() });
  let material = read();
  function renew(): void {
    try {
      material = read();
      for (const changed of listeners) changed();
    } catch (error) {
      // Certificate and key are two files: between the two changes they do not fit.
      report('the certificate as it is now is refused, the earlier one stays', error);
    }
  }
  return {
    material: () => material,
    requireClientCertificate: tlsClientAuth === 'required',
    onChanged: (changed) => void listeners.push(changed),
  };
}

/** What sandboxes that speak TLS have to show, by the settings. @throws ConfigError for a file that holds no certificate */
export function configuredSandboxTls({ sandboxTlsCa, sandboxTlsVerify }: Settings): SandboxTls {
  const authority = sandboxTlsCa === undefined ? undefined : followFile(sandboxTlsCa, authorities, () => {});
  return { authority: () => authority?.(), verify: sandboxTlsVerify };
}

function authorities(pem: Buffer): Buffer {
  const found = String(pem).match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw new Error('holds no certificate');
  for (const one of found) new X509Certificate(one);
  // OpenSSL passes over a certificate that does not begin on a line of its own.
  return Buffer.from(found.join('\n'));
}

function fitting(material: TlsMaterial): TlsMaterial {
  try {
    if (new X509Certificate(material.certificate).checkPrivateKey(createPrivateKey(material.key))) return material;
  } catch (error) {
    throw new ConfigError(`The TLS certificate or its key can't be read: ${(error as Error).message}`);
  }
  throw new ConfigError('The TLS certificate and the key do not belong together.');
}
