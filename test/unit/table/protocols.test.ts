import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { protocolOf } from '../../../src/router/table/index.ts';
import { portProtocols } from '../../../src/router/table/protocols.ts';

describe('the annotation sandbox-router/protocol', () => {
  const cases: [annotation: string | undefined, on8080: string, on50051: string][] = [
    [undefined, 'http', 'http'],
    ['h2c', 'h2c', 'h2c'],
    ['https', 'https', 'https'],
    ['50051=h2c', 'http', 'h2c'],
    ['h2, 8080=http', 'http', 'h2'],
    [' 8080 = https , 50051 = h2 ', 'https', 'h2'],
    ['grpc', 'http', 'http'],
    ['50051=h2c,8080=grpc', 'http', 'http'],
    ['', 'http', 'http'],
    ['H2C', 'http', 'http'],
    ['toString', 'http', 'http'],
  ];
  for (const [annotation, on8080, on50051] of cases)
    it(`${JSON.stringify(annotation)} says ${on8080} for 8080 and ${on50051} for 50051`, () => {
      const protocols = portProtocols(annotation) ?? {};
      assert.deepEqual([protocolOf(protocols, 8080), protocolOf(protocols, 50_051)], [on8080, on50051]);
    });
});
