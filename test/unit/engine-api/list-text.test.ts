import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { listText } from '../../../src/engine/api/http/list-text.ts';

const head = { kind: 'PodList', apiVersion: 'v1', metadata: { resourceVersion: '7' } };
const textOf = (parts: unknown[]) => [...listText({ field: 'items', parts, head })].map((chunk) => chunk.toString());

describe('a long list', () => {
  it('is the same text as one that is sent as a whole', () => {
    const parts = Array.from({ length: 1000 }, (_, index) => ({ name: `größe-${index}`, text: '€'.repeat(index) }));
    for (const some of [parts, parts.slice(0, 1), []])
      assert.equal(textOf(some).join(''), JSON.stringify({ ...head, items: some }));
  });

  it('comes in pieces, none of which is much larger than the largest of its parts', () => {
    const chunks = textOf(Array.from({ length: 2000 }, () => 'x'.repeat(1000)));
    assert.ok(chunks.length > 20);
    assert.ok(Math.max(...chunks.map((chunk) => chunk.length)) < 70_000);
  });
});
