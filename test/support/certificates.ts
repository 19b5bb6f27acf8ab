import { webcrypto } from 'node:crypto';
import '../../src/engine/api/tls/reflect-metadata.ts';
import type { KeyPair } from '../../src/engine/api/tls/make-certificate.ts';

const x509 = await import('@peculiar/x509');
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };
const HOUR_MS = 3_600_000;

/** What a client certificate says. */
export interface ClientNames {
  uris?: string[];
  dns?: string[];
  /** Relative to now. */
  fromMs?: number;
  untilMs?: number;
}

/** A client certificate of an authority, with any names and times. */
export async function makeClientCertificate(
  authority: KeyPair,
  { uris = [], dns = [], fromMs = -HOUR_MS, untilMs = HOUR_MS }: ClientNames,
): Promise<KeyPair> {
  const keys = (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    x509.PemConverter.decodeFirst(authority.keyPem),
    ALGORITHM,
    false,
    ['sign'],
  );
  const nowMs = Date.now();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: '01',
    subject: 'CN=client',
    issuer: new x509.X509Certificate(authority.certificatePem).subject,
    notBefore: new Date(nowMs + fromMs),
    notAfter: new Date(nowMs + untilMs),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([
        ...uris.map((value) => ({ type: 'url' as const, value })),
        ...dns.map((value) => ({ type: 'dns' as const, value })),
      ]),
    ],
  });
  const exported = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { certificatePem: certificate.toString('pem'), keyPem: x509.PemConverter.encode(exported, 'PRIVATE KEY') };
}
