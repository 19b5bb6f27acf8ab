import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { CertificateRule } from '../../config/index.ts';
import type { Authenticator, Credential } from './identity.ts';

/** How a certificate comes to the authenticators: no `Bearer` token can have a space. */
const CERTIFICATE_CREDENTIAL = 'certificate ';
const MOST_NAMES = 20;

/** What is read of a client's certificate once its chain was found right. */
interface CertificateFacts {
  spiffeIds: string[];
  dnsNames: string[];
  fromMs: number;
  untilMs: number;
  fingerprint: string;
}

const known = new WeakMap<Socket, string | undefined>();

/** The credential of a connection whose client has shown a certificate of an authority that is trusted; read once for each connection. */
export function certificateCredential(socket: Socket): string | undefined {
  if (!('encrypted' in socket)) return undefined;
  if (known.has(socket)) return known.get(socket);
  const credential = readCertificate(socket as TLSSocket);
  known.set(socket, credential);
  return credential;
}

/** Accepts certificates by rules; the first that fits says whose it is. The chain was checked by TLS, its time is checked again for each decision. */
export function createCertificateAuthenticator(rules: readonly CertificateRule[]): Authenticator {
  return {
    name: 'mtls',
    authenticate: (credential, nowMs) => {
      if (!credential.startsWith(CERTIFICATE_CREDENTIAL)) return undefined;
      const facts = JSON.parse(credential.slice(CERTIFICATE_CREDENTIAL.length)) as CertificateFacts;
      if (nowMs < facts.fromMs || nowMs >= facts.untilMs) return undefined;
      for (const rule of rules) {
        const found = credentialBy(rule, facts);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

function credentialBy(rule: CertificateRule, facts: CertificateFacts): Credential | undefined {
  const names = rule.spiffeId === undefined ? facts.dnsNames : facts.spiffeIds;
  const pattern = rule.spiffeId ?? rule.dns ?? '';
  for (const name of names) {
    const match = matchPattern(pattern, name, rule.spiffeId === undefined ? '.' : '/');
    const tenant = match === undefined ? undefined : (rule.tenant ?? match.tenant);
    if (tenant === undefined) continue;
    return {
      tenant,
      namespaces: undefined,
      scopes: new Set(rule.scopes),
      credentialId: `mtls:${name.slice(0, 150)}`,
      expiresAtMs: facts.untilMs,
    };
  }
  return undefined;
}

/** `*` stands for one part of a name, `{tenant}` for one part that is the tenant. */
function matchPattern(pattern: string, name: string, separator: string): { tenant?: string } | undefined {
  const wanted = pattern.split(separator);
  const parts = name.split(separator);
  if (wanted.length !== parts.length) return undefined;
  let tenant: string | undefined;
  for (const [index, part] of parts.entries()) {
    if (wanted[index] === '{tenant}' && /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(part)) tenant = part;
    else if (part === '' ? wanted[index] !== '' : wanted[index] !== '*' && wanted[index] !== part) return undefined;
  }
  return tenant === undefined ? {} : { tenant };
}

function readCertificate(socket: TLSSocket): string | undefined {
  const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
  if (certificate === undefined) return undefined;
  const names = readNames(certificate.subjectAltName ?? '');
  const spiffeIds = names.filter(([kind, name]) => kind === 'URI' && name.startsWith('spiffe://'));
  const dnsNames = names.filter(([kind]) => kind === 'DNS');
  const facts: CertificateFacts = {
    // An SVID has exactly one (SPIFFE X509-SVID section 2): of several, none is believed.
    spiffeIds: spiffeIds.length === 1 ? spiffeIds.map(([, name]) => name) : [],
    dnsNames: dnsNames.map(([, name]) => name.toLowerCase()).slice(0, MOST_NAMES),
    fromMs: Date.parse(certificate.validFrom),
    untilMs: Date.parse(certificate.validTo),
    fingerprint: certificate.fingerprint256,
  };
  return CERTIFICATE_CREDENTIAL + JSON.stringify(facts);
}

/** Kinds and names of a certificate. Node quotes names in which something could be read as a separator: no honest name is one of them. */
function readNames(subjectAltName: string): [kind: string, name: string][] {
  const found = subjectAltName.matchAll(/(?:^|, )([A-Za-z0-9 ]+):("(?:[^"\\]|\\.)*"|[^,"]*)/g);
  return [...found].flatMap(([, kind = '', name = '']) => (name.startsWith('"') ? [] : [[kind, name]]));
}
