import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { claimAddressRange } from '../../../src/engine/network/index.ts';

describe('the address ranges of several engines on one machine', () => {
  let parent: string;
  let claims: string;
  const engine = (name: string) => {
    const directory = join(parent, name);
    mkdirSync(directory, { recursive: true });
    return directory;
  };
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'sandbox-router-ranges-'));
    claims = join(parent, 'claims');
  });
  afterEach(() => rmSync(parent, { recursive: true, force: true }));

  it('differ, though their tags stand for the same one', () => {
    const tags = ['0001', '0401', '0801'];
    const bases = tags.map((tag) => claimAddressRange(tag, engine(tag), claims).base);
    assert.deepEqual(bases, [0x0a401000, 0x0a402000, 0x0a403000]);
  });
  it('stay with their engines', () => {
    claimAddressRange('0001', engine('a'), claims);
    const second = claimAddressRange('0401', engine('b'), claims);
    assert.deepEqual(claimAddressRange('0401', engine('b'), claims), second);
  });
  it('go round at the end', () => {
    claimAddressRange('03ff', engine('a'), claims);
    assert.equal(claimAddressRange('03ff', engine('b'), claims).base, 0x0a400000);
  });
  it('are given again when all are taken, once their engine is gone for good', () => {
    const directories = Array.from({ length: 1024 }, (_, index) => engine(String(index)));
    const ranges = directories.map((directory) => claimAddressRange('0000', directory, claims).base);
    assert.equal(new Set(ranges).size, 1024);
    assert.throws(() => claimAddressRange('0000', engine('late'), claims), /all 1024 address ranges are taken/);
    rmSync(join(parent, '700'), { recursive: true });
    assert.equal(claimAddressRange('0000', engine('late'), claims).base, ranges[700]);
  });
});
