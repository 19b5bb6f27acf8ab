import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createByteInbox, createWebSocketInbox } from '../../../src/router/forward/asleep-inbox.ts';

/** A frame as a client sends it. */
function frame(opcode: number, payload: string, first = 0x80): Buffer {
  const mask = Buffer.from([9, 8, 7, 6]);
  const masked = Buffer.from(payload, 'latin1').map((byte, index) => byte ^ (mask[index % 4] as number));
  return Buffer.concat([Buffer.from([first | opcode, 0x80 | masked.length]), mask, masked]);
}

const [CLOSE, PING, PONG] = [8, 9, 10];

function inbox(midFrame = false) {
  const answers: string[] = [];
  const box = createWebSocketInbox(midFrame, (bytes) => answers.push(bytes.toString('latin1')));
  return { ...box, answers, text: () => Buffer.concat(box.contents()).toString('latin1') };
}

describe('what a WebSocket client sends while its sandbox sleeps', () => {
  it('are pings: they are answered, and the sandbox hears of none', () => {
    const box = inbox();
    assert.equal(box.take(Buffer.concat([frame(PING, 'a'), frame(PING, '')])), 'nothing');
    assert.deepEqual(box.answers, ['\x8a\x01a', '\x8a\x00']);
    assert.equal(box.sizeBytes(), 0);
  });

  it('are pongs: it hears of the latest, as it may wait for it', () => {
    const box = inbox();
    assert.equal(box.take(Buffer.concat([frame(PONG, 'old'), frame(PONG, 'new')])), 'nothing');
    assert.equal(box.text(), frame(PONG, 'new').toString('latin1'));
  });

  it('is data: from its first byte on all is kept as it is, pings too', () => {
    const box = inbox();
    const data = Buffer.concat([frame(1, 'text'), frame(PING, 'b')]);
    assert.equal(box.take(Buffer.concat([frame(PING, 'a'), data.subarray(0, 1)])), 'data');
    assert.equal(box.take(data.subarray(1)), 'data');
    assert.deepEqual(box.answers, ['\x8a\x01a']);
    assert.equal(box.text(), data.toString('latin1'));
  });

  it('is the rest of a frame of which the sandbox has the beginning, whatever it looks like', () => {
    const box = inbox(true);
    const rest = frame(PING, 'no ping');
    assert.equal(box.take(rest), 'data');
    assert.deepEqual([box.answers, box.text()], [[], rest.toString('latin1')]);
  });

  it('is a farewell: it is returned at once with its code, the sandbox hears of it, and of nothing after it', () => {
    const box = inbox();
    const farewell = frame(CLOSE, '\x0f\xa1bye');
    assert.equal(box.take(farewell), 'farewell');
    assert.equal(box.take(frame(1, 'too late')), 'nothing');
    assert.deepEqual(box.answers, ['\x88\x02\x0f\xa1']);
    assert.equal(box.text(), farewell.toString('latin1'));
    const silent = inbox();
    silent.take(frame(CLOSE, ''));
    assert.deepEqual(silent.answers, ['\x88\x02\x03\xe8']);
  });

  for (const [what, bytes] of [
    ['a control frame without a mask', Buffer.from([0x89, 0])],
    ['one that is too long', Buffer.from([0x89, 0xfe, 0, 200])],
    ['one in several parts', frame(PING, 'a', 0)],
    ['an opcode that nobody knows', frame(11, 'a')],
  ] as const)
    it(`is ${what}: the sandbox may judge`, () => {
      const box = inbox();
      assert.equal(box.take(bytes), 'data');
      assert.deepEqual([box.answers, box.text()], [[], bytes.toString('latin1')]);
    });

  it('comes in any pieces: the same is answered and kept', () => {
    const frames = fc.array(fc.constantFrom(frame(PING, 'ping'), frame(PONG, 'pong'), frame(1, 'data')), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 }), (list, cuts) => {
        const bytes = Buffer.concat(list);
        const [whole, pieces] = [inbox(), inbox()];
        whole.take(bytes);
        for (let at = 0, cut = 0; at < bytes.length; cut++) {
          const size = cuts[cut % cuts.length] ?? 1;
          pieces.take(bytes.subarray(at, at + size));
          at += size;
        }
        assert.deepEqual([pieces.answers, pieces.text()], [whole.answers, whole.text()]);
      }),
    );
  });
});

describe('what a client of another protocol sends', () => {
  it('is data, every byte of it', () => {
    const box = createByteInbox();
    assert.equal(box.take(Buffer.from('a')), 'data');
    assert.equal(box.take(Buffer.from('bc')), 'data');
    assert.deepEqual([Buffer.concat(box.contents()).toString(), box.sizeBytes()], ['abc', 3]);
  });
});
