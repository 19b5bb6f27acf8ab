import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { credentialFor, parseDockerConfig } from '../../../src/engine/images/oci/credentials.ts';
import { parseReference } from '../../../src/engine/images/oci/reference.ts';

const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });

function userFor(reference: string, auths: object): string | undefined {
  const credentials = parseDockerConfig(Buffer.from(JSON.stringify({ auths })));
  assert.ok(credentials);
  return credentialFor(parseReference(reference), credentials)?.username;
}

describe('credentials of registries', () => {
  const cases: [what: string, reference: string, auths: object, user: string | undefined][] = [
    ['of the host', 'r.example.com/app', { 'r.example.com': auth('host:x') }, 'host'],
    ['of host and port', '127.0.0.1:5000/app', { '127.0.0.1:5000': auth('port:x') }, 'port'],
    ['of no other port', '127.0.0.1:5001/app', { '127.0.0.1:5000': auth('port:x') }, undefined],
    ['of a URL', 'r.example.com/app', { 'https://r.example.com/v2/': auth('url:x') }, 'url'],
    ["of Docker's own address", 'app', { 'https://index.docker.io/v1/': auth('hub:x') }, 'hub'],
    [
      'of the longest path',
      'r.example.com/a/b',
      { 'r.example.com': auth('host:x'), 'r.example.com/a': auth('path:x') },
      'path',
    ],
    ['of no part of a name', 'r.example.com/ab', { 'r.example.com/a': auth('path:x') }, undefined],
    ['of a pattern', 'eu.r.example.com/app', { '*.r.example.com': auth('any:x') }, 'any'],
    ['of a pattern, for one part only', 'a.eu.r.example.com/app', { '*.r.example.com': auth('any:x') }, undefined],
    ['in plain fields', 'r.example.com/app', { 'r.example.com': { username: 'plain', password: 'x' } }, 'plain'],
    ['that are none', 'r.example.com/app', { 'r.example.com': { auth: '!' } }, undefined],
  ];
  for (const [what, reference, auths, user] of cases) it(what, () => assert.equal(userFor(reference, auths), user));

  it('a password may have colons', () => {
    const credentials = parseDockerConfig(Buffer.from(JSON.stringify({ auths: { r: auth('u:a:b') } })));
    assert.deepEqual(credentials?.get('r'), { username: 'u', password: 'a:b' });
  });

  it('the older form is the inner part alone', () => {
    const credentials = parseDockerConfig(Buffer.from(JSON.stringify({ 'r.example.com': auth('u:p') })));
    assert.equal(credentials?.get('r.example.com')?.username, 'u');
  });

  it('what is no such file is told from an empty one', () =>
    assert.equal(parseDockerConfig(Buffer.from('{')), undefined));
});
