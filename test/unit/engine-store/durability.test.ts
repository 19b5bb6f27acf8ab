import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openStore } from '../../../src/engine/store/index.ts';

const writer = join(dirname(fileURLToPath(import.meta.url)), 'writer.ts');

/** Lets a process write until it has acknowledged that many writes, kills it, and gives what it had acknowledged. */
async function writeUntilKilled(
  directory: string,
  round: number,
  atLeast: number,
): Promise<[name: string, revision: number][]> {
  const child = spawn(process.execPath, [writer, directory, String(round)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  for await (const chunk of child.stdout) {
    output += chunk;
    if (output.split('\n').length > atLeast) child.kill('SIGKILL');
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  assert.equal(child.signalCode, 'SIGKILL');
  const lines = output.slice(0, output.lastIndexOf('\n')).split('\n');
  return lines.map((line) => [line.split(' ')[0] as string, Number(line.split(' ')[1])]);
}

it('keeps every acknowledged write through kill -9, and revisions only grow', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'engine-store-kill-'));
  try {
    const acknowledged: [name: string, revision: number][] = [];
    for (const round of [1, 2, 3]) acknowledged.push(...(await writeUntilKilled(directory, round, 40 * round)));
    const store = openStore({ directory });
    for (const [name, revision] of acknowledged)
      assert.equal(Number(store.get('things', name)?.metadata.resourceVersion), revision, name);
    const revisions = acknowledged.map(([, revision]) => revision);
    assert.deepEqual(
      revisions,
      [...new Set(revisions)].sort((left, right) => left - right),
    );
    assert.ok(store.revision >= (revisions.at(-1) ?? 0));
    await store.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

it('finds objects with the longest of names again', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'engine-store-names-'));
  const collection = 'networkpolicies.networking.k8s.io';
  const keys = [1, 20, 29, 30, 63, 253].map((length) => `default/${'n'.repeat(length)}`);
  try {
    const store = openStore({ directory });
    for (const key of keys)
      await store.write(
        collection,
        key,
        {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          metadata: { namespace: 'default', name: key.slice(8) },
        },
        undefined,
      );
    await store.close();
    const again = openStore({ directory });
    assert.deepEqual(
      again.list(collection).items.map(({ key, object }) => [key, object.metadata.name]),
      keys.map((key) => [key, key.slice(8)]),
    );
    await again.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
