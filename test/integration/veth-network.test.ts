import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { type CommandShell, createCommandShell } from '../../src/engine/command-shell.ts';
import { addressRangeOf, dotted } from '../../src/engine/network/addresses.ts';
import { createVethNetwork } from '../../src/engine/network/veth-network.ts';

const TAG = 'fe1d';
const SNAPSHOT = 'snapshot';
const [FIRST, SECOND] = ['aaaaaaaaaa', 'bbbbbbbbbb'];

describe('the address of a sandbox whose container could not be restored', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-veth-'));
  const subnet = addressRangeOf(TAG);
  const address = dotted(subnet.base + 9);
  let shell: CommandShell;
  let network: Awaited<ReturnType<typeof createVethNetwork>>;

  before(async () => {
    shell = createCommandShell(directory);
    network = await createVethNetwork({ engineTag: TAG, subnet, shell, routeOut: false });
  });
  beforeEach(async () => {
    await network.prepare(FIRST, address);
    network.reserve(SNAPSHOT, address);
    assert.equal((await network.attach(FIRST, undefined, SNAPSHOT)).wasReserved, true);
  });
  after(async () => {
    await network.close();
    shell.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** What is started after it: its address, and whether what sleeps there may go on. */
  const next = async () => {
    const { address: given, wasReserved } = await network.attach(SECOND, address, SNAPSHOT);
    await network.detach(SECOND);
    return [given, wasReserved];
  };

  it('stays reserved where its network was never opened', async () => {
    await network.open(FIRST, AbortSignal.abort());
    await network.detach(FIRST);
    assert.deepEqual(await next(), [address, true]);
  });

  it('does not where it was', async () => {
    await network.open(FIRST);
    await network.detach(FIRST);
    assert.deepEqual(await next(), [address, false]);
  });

  it('nor where it was made anew, and open, for a second try', async () => {
    assert.equal((await network.attach(FIRST, address, SNAPSHOT)).wasReserved, false);
    await network.open(FIRST, AbortSignal.abort());
    await network.detach(FIRST);
    assert.deepEqual(await next(), [address, false]);
  });
});
