import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writePrivate } from './private-file.ts';

/** What the server presents and what clients trust, PEM. */
export interface Certificates {
  caPem: string;
  certificatePem: string;
  keyPem: string;
}

/** Names and addresses that the server certificate is for, and the clock. */
export interface CertificateOptions {
  /** More DNS names or IP addresses than localhost, 127.0.0.1 and ::1. */
  names?: string[];
  /** Milliseconds since the epoch. */
  clock: () => number;
}

const DAY_MS = 86_400_000;
const CA_LIFE_MS = 3650 * DAY_MS;
const SERVER_LIFE_MS = 365 * DAY_MS;
/** With less life left than this a certificate is made anew. */
const RENEW_BEFORE_MS = 30 * DAY_MS;

/**
 * The engine's own CA and server certificate in a directory; made at the first start, the server's made anew when it nears its end, lacks
 * a name, or doesn't fit the CA. Files hold keys and have mode 0600.
 */
export async function ensureCertificates(directory: string, options: CertificateOptions): Promise<Certificates> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const names = ['localhost', '127.0.0.1', '::1', ...(options.names ?? [])];
  const files = {
    ca: join(directory, 'ca.crt'),
    caKey: join(directory, 'ca.key'),
    server: join(directory, 'server.crt'),
    serverKey: join(directory, 'server.key'),
  };
  const nowMs = options.clock();
  const usableCa = isUsable(files.ca, files.caKey, nowMs);
  if (usableCa && isUsable(files.server, files.serverKey, nowMs) && fits(files.server, files.ca, names))
    return read(files);

  const { makeAuthority, makeServerCertificate } = await import('./make-certificate.ts');
  if (!usableCa) {
    const made = await makeAuthority(nowMs, CA_LIFE_MS);
    writePrivate(files.caKey, made.keyPem);
    writePrivate(files.ca, made.certificatePem);
  }
  const authority = { certificatePem: readFileSync(files.ca, 'utf8'), keyPem: readFileSync(files.caKey, 'utf8') };
  const made = await makeServerCertificate(authority, names, nowMs, SERVER_LIFE_MS);
  writePrivate(files.serverKey, made.keyPem);
  writePrivate(files.server, made.certificatePem);
  return read(files);
}

function read(files: { ca: string; server: string; serverKey: string }): Certificates {
  return {
    caPem: readFileSync(files.ca, 'utf8'),
    certificatePem: readFileSync(files.server, 'utf8'),
    keyPem: readFileSync(files.serverKey, 'utf8'),
  };
}

function isUsable(certificate: string, key: string, nowMs: number): boolean {
  if (!existsSync(certificate) || !existsSync(key)) return false;
  const parsed = parse(certificate);
  return (
    parsed !== undefined &&
    Date.parse(parsed.validTo) - nowMs > RENEW_BEFORE_MS &&
    Date.parse(parsed.validFrom) <= nowMs
  );
}

function fits(server: string, ca: string, names: string[]): boolean {
  const certificate = parse(server);
  const authority = parse(ca);
  if (certificate === undefined || authority === undefined || !certificate.verify(authority.publicKey)) return false;
  return names.every((name) => certificate.checkHost(name) !== undefined || certificate.checkIP(name) !== undefined);
}

/** A file cut short by a crash or a full disk is no certificate. */
function parse(file: string): X509Certificate | undefined {
  try {
    return new X509Certificate(readFileSync(file));
  } catch {
    return undefined;
  }
}
