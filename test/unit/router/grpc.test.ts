import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { trailersByName } from '../../../src/router/forward/index.ts';
import { grpcStatus, isGrpc } from '../../../src/router/grpc.ts';
import { PROBLEMS, type ProblemCode } from '../../../src/router/problem.ts';

describe('problems of gRPC', () => {
  it('are for calls over HTTP/2 alone, of any encoding', () => {
    const asked = (httpVersionMajor: number, type?: string) =>
      isGrpc({ httpVersionMajor, headers: { 'content-type': type } });
    for (const type of ['application/grpc', 'application/grpc+proto', 'Application/GRPC;x=1']) {
      assert.equal(asked(2, type), true, type);
      assert.equal(asked(1, type), false, type);
    }
    for (const type of [undefined, 'application/grpc-web', 'application/json'])
      assert.equal(asked(2, type), false, type);
  });

  it('have a status for every code, and only what may pass says UNAVAILABLE', () => {
    const unavailable = Object.entries(PROBLEMS)
      .filter(
        ([code, { status }]) => grpcStatus({ code: code as ProblemCode, detail: '' }, status)['grpc-status'] === '14',
      )
      .map(([, { status }]) => status);
    assert.deepEqual([...new Set(unavailable)].sort(), [502, 503]);
  });

  it('have a message of printable ASCII, percent-encoded', () => {
    const { 'grpc-message': message } = grpcStatus({ code: 'waking', detail: '100 % — é\n' }, 503);
    assert.equal(message, 'waking: 100 %25 %E2%80%94 %C3%A9%0A');
  });
});

describe('trailers', () => {
  it('carry what may follow a message, each value of it', () => {
    const given = [
      'X-Sum',
      '1',
      'x-sum',
      '2',
      'Connection',
      'x',
      'TE',
      'x',
      'Host',
      'h',
      'X-Forwarded-For',
      '1',
      'a b',
      'c',
      ':status',
      '200',
    ];
    assert.deepEqual(trailersByName(given), { 'x-sum': ['1', '2'] });
  });
});
