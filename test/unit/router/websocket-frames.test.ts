import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { closeFrame, createFrameTracker } from '../../../src/router/forward/websocket-frames.ts';

/** A frame as RFC 6455 section 5.2 has it. */
function frame(payloadBytes: number, masked: boolean): Buffer {
  const short = payloadBytes < 126;
  const middle = !short && payloadBytes < 65_536;
  const head = Buffer.alloc(2 + (short ? 0 : middle ? 2 : 8) + (masked ? 4 : 0));
  head[0] = 0x82;
  head[1] = (masked ? 0x80 : 0) | (short ? payloadBytes : middle ? 126 : 127);
  if (middle) head.writeUInt16BE(payloadBytes, 2);
  else if (!short) head.writeBigUInt64BE(BigInt(payloadBytes), 2);
  return Buffer.concat([head, Buffer.alloc(payloadBytes, 0x88)]);
}

const frames = fc.array(
  fc.record({
    payloadBytes: fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constantFrom(125, 126, 65_535, 65_536)),
    masked: fc.boolean(),
  }),
  { minLength: 1, maxLength: 6 },
);

describe('frames of a WebSocket', () => {
  it('begin where the tracker says, however the bytes are cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1 }), (list, cuts) => {
        const parts = list.map(({ payloadBytes, masked }) => frame(payloadBytes, masked));
        const bytes = Buffer.concat(parts);
        const begins = new Set([0]);
        parts.reduce((at, part) => {
          begins.add(at + part.length);
          return at + part.length;
        }, 0);
        const tracker = createFrameTracker();
        for (let at = 0, cut = 0; at < bytes.length; cut++) {
          const chunk = bytes.subarray(at, at + (cuts[cut % cuts.length] ?? 1));
          tracker.advance(chunk);
          at += chunk.length;
          assert.equal(tracker.atBoundary(), begins.has(at));
        }
      }),
    );
  });

  it('end first where boundaryIn says', () => {
    const tracker = createFrameTracker();
    const bytes = Buffer.concat([frame(300, false), frame(5, true)]);
    tracker.advance(bytes.subarray(0, 100));
    assert.equal(tracker.boundaryIn(bytes.subarray(100, 200)), -1);
    assert.equal(tracker.boundaryIn(bytes.subarray(200)), 104);
  });

  it('of ours carry a code and a reason', () => {
    assert.deepEqual(closeFrame(1001, 'bye'), Buffer.from([0x88, 5, 0x03, 0xe9, 0x62, 0x79, 0x65]));
    assert.equal(closeFrame(1001, 'x'.repeat(200)).length, 127);
  });
});
