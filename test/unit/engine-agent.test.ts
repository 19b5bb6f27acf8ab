import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { timeoutOf } from '../../src/engine/agent/sandboxd/grpc.ts';
import {
  readInput,
  readResize,
  readSignal,
  readStart,
  writeEvent,
  writeResult,
} from '../../src/engine/agent/sandboxd/messages.ts';
import { ProtobufError, readFields } from '../../src/engine/agent/sandboxd/protobuf.ts';

/** Bytes as Google's protobuf for Python writes them, from the descriptor of the SDK 1.0.8. */
const hex = (text: string) => Buffer.from(text, 'hex');

describe("sandboxd's messages", () => {
  it('reads what the SDK writes', () => {
    const start = readStart(
      hex('0a210a072f62696e2f73680a022d630a05c3a963686f12060a01411201311a037375621205085010ac02'),
    );
    assert.deepEqual(start, {
      config: { command: ['/bin/sh', '-c', 'écho'], environment: { A: '1' }, workingDirectory: 'sub' },
      terminal: { columns: 80, rows: 300 },
    });
    assert.deepEqual(readStart(hex('0a040a026c73')), { config: { command: ['ls'], environment: {} } });
    assert.deepEqual(readStart(hex('0a040a001a00')).config, { command: [''], environment: {}, workingDirectory: '' });
    assert.deepEqual(readInput(hex('08ac0212026869')), { processId: 300, input: Buffer.from('hi') });
    assert.deepEqual(readInput(hex('08011a00')), { processId: 1 });
    assert.deepEqual(readSignal(hex('0805100f')), { processId: 5, signal: 15 });
    assert.deepEqual(readResize(hex('080510641828')), { processId: 5, size: { columns: 100, rows: 40 } });
  });

  it('writes what the SDK reads', () => {
    assert.equal(writeEvent({ init: 70000 }).toString('hex'), '0a0408f0a204');
    assert.equal(writeEvent({ stdout: Buffer.from('out') }).toString('hex'), '12036f7574');
    assert.equal(writeEvent({ stderr: Buffer.alloc(0) }).toString('hex'), '1a00');
    assert.equal(writeEvent({ exit: 0 }).toString('hex'), '2200');
    assert.equal(writeEvent({ exit: 137 }).toString('hex'), '2203088901');
    assert.equal(writeResult(-1, Buffer.from('a'), Buffer.alloc(0)).toString('hex'), '08ffffffffffffffffff01120161');
  });

  const broken: [what: string, bytes: string][] = [
    ['a number without an end', '80'],
    ['a number that is too long', `08${'ff'.repeat(10)}01`],
    ['a field that is longer than the message', '0a05'],
    ['a length beyond all bounds', '0affffffffffffffff7f'],
    ['a wire type that does not exist', '0f'],
    ['a group', '0b0c'],
  ];
  for (const [what, bytes] of broken)
    it(`refuses ${what}`, () => {
      assert.throws(() => readFields(hex(bytes)), ProtobufError);
    });

  it('passes over fields that it does not know', () => {
    assert.deepEqual(readSignal(hex('0807300551010203040506070810 0f'.replace(' ', ''))), { processId: 7, signal: 15 });
  });
});

describe('grpc-timeout', () => {
  for (const [header, timeoutMs] of [
    ['2S', 2000],
    ['1500m', 1500],
    ['1M', 60_000],
    ['3000000u', 3000],
    ['99999999H', 99_999_999 * 3_600_000],
  ] as const)
    it(`${header} is ${timeoutMs} ms`, () => assert.equal(timeoutOf(header), timeoutMs));
  it('is none without the header', () => assert.equal(timeoutOf(undefined), undefined));
  for (const header of ['', '5', '5s', '-1S', '123456789S'])
    it(`${JSON.stringify(header)} is refused`, () => assert.throws(() => timeoutOf(header), /is no time/));
});
