import { Command } from 'commander';
import { parseDurationMs } from '../config/index.ts';
import { SANDBOXES, type Sandbox } from '../kubernetes/index.ts';
import { addVerbOptions, clientOf, currentCondition, type VerbOptions, waitForSandbox } from './sandbox-verbs.ts';
import { writeLedger } from './write-ledger.ts';

/** `sandbox-router resume <sandbox>`: start it from its snapshot and wait until it is Ready. */
export function resumeCommand(): Command {
  return addVerbOptions(new Command('resume'))
    .argument('<sandbox>', 'name of the sandbox')
    .description('start a paused sandbox from its snapshot without sending it a request')
    .action(resume);
}

async function resume(name: string, options: VerbOptions): Promise<void> {
  const client = await clientOf(options);
  const key = { namespace: options.namespace, name };
  const startedAt = performance.now();
  const patched = await client.patch<Sandbox>(
    SANDBOXES,
    key,
    { spec: { operatingMode: 'Running' } },
    { type: 'merge' },
  );
  const generation = patched.metadata.generation ?? 0;
  const running = await waitForSandbox(client, key, parseDurationMs(options.timeout), (sandbox) => {
    if (sandbox.spec.operatingMode === 'Suspended') throw new Error(`${name} was paused again meanwhile.`);
    return currentCondition(sandbox, 'Ready', generation)?.status === 'True';
  });
  const durationMs = Math.round(performance.now() - startedAt);
  await writeLedger(client, running, 'resume', { type: 'woken', durationMs });
  console.log(`${name} running after ${(durationMs / 1000).toFixed(2)} s`);
}
