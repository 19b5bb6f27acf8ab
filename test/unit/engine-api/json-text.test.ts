import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspectJson, levelsOf, MOST_LEVELS } from '../../../src/engine/api/http/json-text.ts';

describe('what a text of JSON says beside its value', () => {
  const cases: [text: string, levels: number, duplicates: string[]][] = [
    ['1', 0, []],
    ['{"a":{"b":[1,{"c":2}]}}', 4, []],
    ['{"a":1,"a":2}', 1, ['a']],
    ['{"data":{"a":"1","b":"2","a":"3"}}', 2, ['data.a']],
    ['{"list":[{"name":1},{"name":2,"name":3}]}', 3, ['list[1].name']],
    ['{"a":"{\\"b\\":1,\\"b\\":2}"}', 1, []],
    ['{"a\\u0062":1,"ab":2}', 1, ['ab']],
    ['{"__proto__":1,"__proto__":2}', 1, ['__proto__']],
    ['{"a":["x","x"],"b":"a"}', 2, []],
    ['{"half', 1, []],
  ];
  for (const [text, levels, duplicates] of cases)
    it(text, () => assert.deepEqual(inspectJson(text), { levels, duplicates }));

  it('stops where it is deeper than anything may be', () => {
    assert.equal(inspectJson('['.repeat(1_000_000)).levels, MOST_LEVELS + 1);
    let deep: unknown = 1;
    for (let index = 0; index < 100_000; index++) deep = [deep];
    assert.ok(levelsOf(deep) > MOST_LEVELS);
    assert.equal(levelsOf({ a: [{ b: 1 }] }), 3);
  });
});
