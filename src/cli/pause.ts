import { Command } from 'commander';
import { parseDurationMs } from '../config/index.ts';
import { SANDBOXES, type Sandbox } from '../kubernetes/index.ts';
import { addVerbOptions, clientOf, currentCondition, type VerbOptions, waitForSandbox } from './sandbox-verbs.ts';
import { writeLedger } from './write-ledger.ts';

/** `sandbox-router pause <sandbox>`: snapshot it, stop it, and wait until both are done. */
export function pauseCommand(): Command {
  return addVerbOptions(new Command('pause'))
    .argument('<sandbox>', 'name of the sandbox')
    .description('snapshot a sandbox and stop it; the next request wakes it')
    .action(pause);
}

async function pause(name: string, options: VerbOptions): Promise<void> {
  const client = await clientOf(options);
  const key = { namespace: options.namespace, name };
  const startedAt = performance.now();
  const patched = await client.patch<Sandbox>(
    SANDBOXES,
    key,
    { spec: { operatingMode: 'Suspended' } },
    { type: 'merge' },
  );
  const generation = patched.metadata.generation ?? 0;
  const paused = await waitForSandbox(client, key, parseDurationMs(options.timeout), (sandbox) => {
    const suspended = currentCondition(sandbox, 'Suspended', generation);
    if (sandbox.spec.operatingMode !== 'Suspended') throw new Error(`${name} was woken before the pause was complete.`);
    return suspended?.status === 'True' || suspended?.reason === 'SnapshotFailed';
  });
  const failed = currentCondition(paused, 'Suspended', generation);
  if (failed?.reason === 'SnapshotFailed') {
    // Left as Suspended, the sandbox would be snapshot later, behind the back of whoever was told that it keeps running.
    await client.patch(SANDBOXES, key, { spec: { operatingMode: 'Running' } }, { type: 'merge' });
    await writeLedger(client, paused, 'pause', { type: 'pause_failed', detail: failed.message ?? '' });
    throw new Error(`${name} could not be snapshot and keeps running: ${failed.message ?? 'no reason given'}`);
  }
  const durationMs = Math.round(performance.now() - startedAt);
  await writeLedger(client, paused, 'pause', { type: 'paused', durationMs });
  const snapshot = paused.metadata.annotations?.['sandbox-router/snapshot'];
  console.log(
    `${name} paused in ${(durationMs / 1000).toFixed(2)} s${snapshot === undefined ? '' : ` (snapshot ${snapshot})`}`,
  );
}
