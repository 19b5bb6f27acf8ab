import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import { createRemoteKeys, parsePublicKeys } from '../../../src/router/identity/jwks.ts';

describe('keys of an issuer', () => {
  let issuer = '';
  let said: () => object;
  let keys: object[] = [];
  let asked = 0;
  let away = false;
  const server = createServer((request, response) => {
    if (away) {
      response.writeHead(503).end();
      return;
    }
    const isKeys = request.url === '/keys';
    if (isKeys) asked++;
    response.end(JSON.stringify(isKeys ? { keys } : said()));
  });
  const key = async (kid: string) => ({
    ...(await exportJWK((await generateKeyPair('ES256', { extractable: true })).publicKey)),
    kid,
    alg: 'ES256',
  });
  const token = { payload: '', signature: '' };

  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    said = () => ({ issuer, jwks_uri: `${issuer}/keys` });
  });
  after(() => server.close());

  it('are asked for once, again for a key that is new, and not for every key that is unknown', async () => {
    let nowMs = 0;
    keys = [await key('one')];
    const find = createRemoteKeys(issuer, () => nowMs);
    const get = (kid: string) => find({ alg: 'ES256', kid }, token);
    asked = 0;
    await Promise.all([get('one'), get('one')]);
    assert.equal(asked, 1);
    keys = [...keys, await key('two')];
    await assert.rejects(async () => get('two'), /no applicable key/);
    assert.equal(asked, 1, 'not so soon');
    nowMs = 31_000;
    await get('two');
    for (let index = 0; index < 10; index++) await assert.rejects(async () => get(`made-up-${index}`));
    assert.equal(asked, 2);
  });

  it('stay in use while the issuer is away, and are renewed behind the scenes', async () => {
    let nowMs = 0;
    keys = [await key('one')];
    const find = createRemoteKeys(issuer, () => nowMs);
    const get = async () => find({ alg: 'ES256', kid: 'one' }, token);
    await get();
    away = true;
    nowMs = 3_600_000;
    await get();
    away = false;
    nowMs += 60_000;
    asked = 0;
    await get();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(asked, 1);
  });

  it('can not be had from somebody who says to be another, and are asked for again', async () => {
    let nowMs = 0;
    const find = createRemoteKeys(issuer, () => nowMs);
    const get = async () => find({ alg: 'ES256', kid: 'one' }, token);
    const honest = said;
    said = () => ({ issuer: 'https://other.test', jwks_uri: `${issuer}/keys` });
    await assert.rejects(get, /says that it is another issuer/);
    said = honest;
    await assert.rejects(get, 'not at once');
    nowMs = 2000;
    await get();
  });

  it('in a file are public ones', async () => {
    const find = parsePublicKeys(JSON.stringify({ keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'one' }] }));
    await assert.rejects(async () => find({ alg: 'HS256', kid: 'one' }, token));
    assert.throws(() => parsePublicKeys('{}'), /holds no "keys"/);
  });
});
