import { Command } from 'commander';
import { SANDBOXES, type Sandbox } from '../kubernetes/index.ts';
import { addVerbOptions, clientOf, type VerbOptions } from './sandbox-verbs.ts';
import { textTable } from './text-table.ts';

/** `sandbox-router list`: name, state and reason of every sandbox of a namespace. */
export function listCommand(): Command {
  return addVerbOptions(new Command('list'))
    .option('-A, --all-namespaces', 'every namespace')
    .option('--json', 'one JSON array instead of a table')
    .description('list sandboxes and what state they are in')
    .action(list);
}

async function list(options: VerbOptions & { allNamespaces?: boolean; json?: boolean }): Promise<void> {
  const client = await clientOf(options);
  const { items } = await client.list<Sandbox>(
    SANDBOXES,
    options.allNamespaces === true ? {} : { namespace: options.namespace },
  );
  const rows = items.map((sandbox) => {
    const ready = sandbox.status?.conditions?.find((condition) => condition.type === 'Ready');
    const mode = sandbox.spec.operatingMode ?? 'Running';
    return {
      namespace: sandbox.metadata.namespace ?? '',
      name: sandbox.metadata.name,
      mode,
      ready: ready?.status === 'True',
      reason: ready?.reason ?? '',
    };
  });
  if (options.json === true) console.log(JSON.stringify(rows));
  else if (rows.length === 0) console.log('No sandboxes.');
  else
    console.log(
      textTable(
        ['NAMESPACE', 'NAME', 'MODE', 'READY', 'REASON'],
        rows.map((row) => Object.values(row).map(String)),
      ),
    );
}
