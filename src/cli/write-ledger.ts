import { hostname, userInfo } from 'node:os';
import type { ResourceClient, Sandbox } from '../kubernetes/index.ts';
import { createLedger, type LedgerFact } from '../router/index.ts';

/** Writes into a sandbox's ledger what a command did. Who may do it and yet write no Events has done it all the same. */
export async function writeLedger(
  client: ResourceClient,
  { metadata }: Sandbox,
  command: string,
  fact: Omit<LedgerFact, 'cause'>,
): Promise<void> {
  const ledger = createLedger({ client, reporter: hostname(), failed: () => {} });
  const { namespace = 'default', name, uid = '' } = metadata;
  const cause = { via: 'command', credential: userInfo().username, rule: `sandbox-router ${command}` } as const;
  ledger.record({ namespace, name, uid }, { ...fact, cause });
  await ledger.close();
}
