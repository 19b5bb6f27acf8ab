import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { InvalidResponseError } from '../../../src/router/forward/upstream/errors.ts';
import { ResponseReader } from '../../../src/router/forward/upstream/response-reader.ts';

/** What a reader made of bytes. */
interface Answer {
  interim: number[];
  status: number;
  reason: string;
  fields: string[];
  body: string;
  trailers: string[];
}

/** Reads bytes (latin1), cut at these places, as the answers to these requests. */
function read(text: string, { methods = ['GET'], cuts = [] as number[], ends = false } = {}) {
  const answers: Answer[] = [];
  let answer: Answer = empty();
  const reader = new ResponseReader({
    head: (status, reason, fields) => {
      if (status < 200) answer.interim.push(status);
      else Object.assign(answer, { status, reason, fields });
    },
    whole: (body) => {
      answer.body += body;
    },
    data: (bytes, from, to) => {
      answer.body += bytes.toString('latin1', from, to);
    },
    end: (trailers) => {
      answers.push({ ...answer, trailers });
      answer = empty();
    },
  });
  const bytes = Buffer.from(text, 'latin1');
  const waiting = [...methods];
  let at = 0;
  for (const cut of [...cuts.toSorted((left, right) => left - right), bytes.length]) {
    if (reader.isIdle && waiting.length > 0) reader.begin(waiting.shift() ?? '');
    const piece = bytes.subarray(at, Math.max(at, cut));
    at += piece.length;
    // A buffer that is larger than what was read, and is overwritten afterwards.
    const shared = Buffer.alloc(piece.length + 7, '!');
    piece.copy(shared);
    reader.read(shared, piece.length);
    shared.fill('?');
  }
  const complete = ends ? reader.finish() : reader.isIdle;
  return { answers, complete, keepMs: reader.keepMs };
}

function empty(): Answer {
  return { interim: [], status: 0, reason: '', fields: [], body: '', trailers: [] };
}

const head = (...lines: string[]) => `HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;

describe('answers of sandboxes', () => {
  it('are read with their fields as they came', () => {
    const { answers, complete } = read(
      'HTTP/1.1 299 Like It \xe9\r\nX-B: 1\r\nx-a:\t 2 \r\nX-B:\r\nContent-Length: 2\r\n\r\nok',
    );
    assert.equal(complete, true);
    assert.deepEqual(answers, [
      {
        ...empty(),
        status: 299,
        reason: 'Like It \xe9',
        fields: ['X-B', '1', 'x-a', '2', 'X-B', '', 'Content-Length', '2'],
        body: 'ok',
      },
    ]);
  });

  for (const [what, text, method, body] of [
    ['of a length', `${head('Content-Length: 5')}abcde`, 'GET', 'abcde'],
    ['of none', head('Content-Length: 0'), 'GET', ''],
    [
      'in chunks',
      `${head('Transfer-Encoding: Chunked')}3;a="b"\r\nabc\r\n0A \r\n0123456789\r\n0;x\r\n\r\n`,
      'GET',
      'abc0123456789',
    ],
    ['to HEAD', head('Content-Length: 5'), 'HEAD', ''],
    ['to HEAD in chunks', head('Transfer-Encoding: chunked'), 'HEAD', ''],
    ['of 204', 'HTTP/1.1 204\r\n\r\n', 'GET', ''],
    ['of 304 with a length', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n', 'GET', ''],
  ] as const)
    it(`end where they should: ${what}`, () => {
      const { answers, complete } = read(text, { methods: [method] });
      assert.deepEqual(
        answers.map((answer) => answer.body),
        [body],
      );
      assert.equal(complete, true);
    });

  it('end with the connection where nothing else tells, and only then', () => {
    assert.equal(read(`${head()}abc`).complete, false);
    assert.equal(read(`${head()}abc`, { ends: true }).answers[0]?.body, 'abc');
    assert.equal(read(`${head('Content-Length: 4')}abc`, { ends: true }).complete, false);
    assert.equal(read(`${head('Transfer-Encoding: chunked')}3\r\nabc\r\n`, { ends: true }).complete, false);
    assert.equal(read('HTTP/1.1 200 OK\r\n', { ends: true }).complete, false);
  });

  it('have trailers', () => {
    const chunks = `${head('Transfer-Encoding: chunked')}1\r\na\r\n0\r\nX-Sum: 5\r\nx-sum: \xe9\r\n\r\n`;
    assert.deepEqual(read(chunks).answers[0]?.trailers, ['X-Sum', '5', 'x-sum', '\xe9']);
  });

  it('come after any number of interim ones', () => {
    const [answer] = read(
      `HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 102\r\n\r\n${head('Content-Length: 2')}ok`,
    ).answers;
    assert.deepEqual([answer?.interim, answer?.body], [[103, 102], 'ok']);
  });

  for (const [fields, keepMs] of [
    [['Connection: close'], 0],
    [['Connection: x, Close'], 0],
    [['Connection: keep-alive'], -1],
    [[], -1],
    [['Keep-Alive: timeout=5, max=9'], 4000],
    [['Keep-Alive: timeout=1'], 0],
    [['Connection: close', 'Keep-Alive: timeout=5'], 0],
  ] as const)
    it(`say how long their connection is kept: ${fields.join(', ') || 'nothing'}`, () =>
      assert.equal(read(head(...fields, 'Content-Length: 0')).keepMs, keepMs));

  it('of HTTP/1.0 keep their connection where both sides say so', () => {
    assert.equal(read('HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n').keepMs, 0);
    assert.equal(read('HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n').keepMs, -1);
  });

  for (const [what, text] of [
    ['another protocol', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['a protocol that begins like it', 'H\rTP/1.1 200 OK\r\n'],
    ['another version', 'HTTP/2.0 200 OK\r\n\r\n'],
    ['HTTP/0.9', '<html></html>\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['a status below 100', 'HTTP/1.1 099 OK\r\n\r\n'],
    ['a control character in the reason', 'HTTP/1.1 200 O\x00K\r\n\r\n'],
    ['lines that end with LF', 'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n'],
    ['a CR alone', head('A: b\rc')],
    ['a NUL', head('A: b\x00c')],
    ['a folded line', head('A: b', ' c')],
    ['blanks before the colon', head('Content-Length : 5')],
    ['a field without name', head(': b')],
    ['a line without colon', head('abc')],
    ['two lengths', head('Content-Length: 5', 'content-length: 5')],
    ['a list of lengths', head('Content-Length: 5, 5')],
    ['a signed length', head('Content-Length: +5')],
    ['an empty length', head('Content-Length:')],
    ['a length that no number holds', head('Content-Length: 99999999999999999')],
    ['a length beside chunks', head('Content-Length: 5', 'Transfer-Encoding: chunked')],
    ['chunks beside a length', head('Transfer-Encoding: chunked', 'Content-Length: 5')],
    ['another transfer coding', head('Transfer-Encoding: gzip, chunked')],
    ['chunks twice', head('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
    ['chunked that only looks so', head('Transfer-Encoding: \x0bchunked')],
    ['a switch of protocols', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n'],
    ['a chunk without size', `${head('Transfer-Encoding: chunked')}\r\n`],
    ['a chunk size that is none', `${head('Transfer-Encoding: chunked')}0x5\r\n`],
    ['a negative chunk', `${head('Transfer-Encoding: chunked')}-5\r\n`],
    ['a chunk that is too large', `${head('Transfer-Encoding: chunked')}fffffffffffff\r\n`],
    ['a chunk size that ends with LF', `${head('Transfer-Encoding: chunked')}5\nabcde\r\n`],
    ['a chunk that is longer than it says', `${head('Transfer-Encoding: chunked')}2\r\nabc\r\n`],
    ['an endless chunk extension', `${head('Transfer-Encoding: chunked')}2;${'x'.repeat(5000)}\r\n`],
    ['trailers that are none', `${head('Transfer-Encoding: chunked')}0\r\nabc\r\n\r\n`],
    ['a head that is too long', head(`A: ${'x'.repeat(70_000)}`)],
    ['a head that never ends', `HTTP/1.1 200 OK\r\nA: ${'x'.repeat(70_000)}`],
    ['trailers that are too long', `${head('Transfer-Encoding: chunked')}0\r\nA: ${'x'.repeat(70_000)}`],
    ['more than was asked for', `${head('Content-Length: 2')}okHTTP/1.1 200 OK\r\n`],
  ] as const)
    it(`are refused: ${what}`, () => {
      assert.throws(() => read(text), InvalidResponseError);
      const everywhere = Array.from({ length: Math.min(text.length, 300) }, (_, index) => index);
      assert.throws(() => read(text, { cuts: everywhere }), InvalidResponseError);
    });

  const token = fc.string({ unit: fc.constantFrom(..."abcXYZ019!#$%&'*+-.^_`|~"), minLength: 1, maxLength: 12 });
  const value = fc
    .string({ unit: fc.constantFrom(...'abc XYZ\t09:;,="\xe9\xff'), maxLength: 30 })
    .map((text) => text.replace(/^[\t ]+|[\t ]+$/g, ''));
  const fields = fc.array(fc.tuple(token, value), { maxLength: 8 });
  const body = fc.string({ unit: fc.constantFrom(...'ab\r\n0\x00\xff'), maxLength: 300 });
  const framed = fc.oneof(
    body.map((text) => ({ text, field: `Content-Length: ${text.length}`, bytes: text, trailers: [] as string[] })),
    fc.tuple(fc.array(body.filter((text) => text !== '')), fields).map(([chunks, trailers]) => ({
      text: chunks.join(''),
      field: 'Transfer-Encoding: chunked',
      bytes: `${chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('')}0\r\n${lines(trailers)}\r\n`,
      trailers: trailers.flat(),
    })),
  );
  const lines = (pairs: [string, string][]) => pairs.map((pair) => `${pair.join(': ')}\r\n`).join('');
  const cuts = fc.array(fc.nat(1500), { maxLength: 40 });

  it('are the same however their bytes are cut', () => {
    fc.assert(
      fc.property(fields, framed, cuts, (pairs, { text, field, bytes, trailers }, places) => {
        const whole = `HTTP/1.1 200 OK\r\n${lines(pairs)}${field}\r\n\r\n${bytes}`;
        const { answers, complete } = read(whole, { cuts: places.filter((place) => place < whole.length) });
        assert.equal(complete, true);
        assert.deepEqual(answers, [
          {
            ...empty(),
            status: 200,
            reason: 'OK',
            fields: [...pairs.flat(), ...field.split(': ')],
            body: text,
            trailers,
          },
        ]);
      }),
      { numRuns: 2000 },
    );
  });

  it('that are damaged are refused or read as something, and never break the reader', () => {
    const damage = fc.array(fc.tuple(fc.nat(600), fc.constantFrom(...'\r\n :;0aF\x00\x7f\xff')), { maxLength: 6 });
    fc.assert(
      fc.property(fields, framed, damage, cuts, (pairs, { field, bytes }, damages, places) => {
        const letters = [...`HTTP/1.1 200 OK\r\n${lines(pairs)}${field}\r\n\r\n${bytes}`];
        for (const [place, letter] of damages) if (place < letters.length) letters[place] = letter;
        const text = letters.join('');
        const outcome = (at: number[]) => {
          try {
            const { answers, complete } = read(text, { cuts: at.filter((place) => place < text.length), ends: true });
            return { answers, complete };
          } catch (error) {
            if (!(error instanceof InvalidResponseError)) throw error;
            return 'refused';
          }
        };
        // Where the bytes are cut makes no difference either.
        assert.deepEqual(outcome(places), outcome([]));
      }),
      { numRuns: 3000 },
    );
  });
});
