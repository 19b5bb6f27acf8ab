import { Command } from 'commander';
import {
  BUSY_UNTIL_ANNOTATION,
  BUSY_WHY_ANNOTATION,
  IDLE_TIMEOUT_ANNOTATION,
  isApiError,
  LAST_ACTIVE_ANNOTATION,
  POD_NAME_ANNOTATION,
  PODS,
  type Pod,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
} from '../kubernetes/index.ts';
import { describeCause, describeMs, type LedgerEntry, plain, readLedger } from '../router/index.ts';
import { addVerbOptions, clientOf, type VerbOptions } from './sandbox-verbs.ts';
import { textTable } from './text-table.ts';

/** What a sandbox is now, in the fields that decide whether it sleeps. */
interface Present {
  mode: string;
  reason: string;
  message: string;
  idleTimeout: string | null;
  lastReportedUse: string | null;
  busyUntil: string | null;
  busyWhy: string | null;
}

/** `sandbox-router why <sandbox>`: why it was woken, kept awake, paused or refused. */
export function whyCommand(): Command {
  return addVerbOptions(new Command('why'))
    .argument('<sandbox>', 'name of the sandbox')
    .option('--json', 'one JSON object instead of a table')
    .description('tell why a sandbox was woken, kept awake, paused or refused, as far back as the API keeps Events')
    .action(why);
}

async function why(name: string, options: VerbOptions & { json?: boolean }): Promise<void> {
  const client = await clientOf(options);
  const sandbox = await client.get<Sandbox>(SANDBOXES, { namespace: options.namespace, name });
  const now = await presentOf(client, sandbox);
  const { namespace = options.namespace, uid = '' } = sandbox.metadata;
  const events = await readLedger(client, { namespace, name, uid });
  if (options.json === true) console.log(JSON.stringify({ sandbox: name, namespace, now, events }));
  else console.log([...describePresent(name, now), '', tableOf(events)].join('\n'));
}

async function presentOf(client: ResourceClient, { metadata, spec, status }: Sandbox): Promise<Present> {
  const { annotations = {}, namespace = 'default', name } = metadata;
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const pod = await client
    .get<Pod>(PODS, { namespace, name: annotations[POD_NAME_ANNOTATION] ?? name })
    .catch((error) => {
      if (isApiError(error, 'NotFound')) return undefined;
      throw error;
    });
  const ofPod = pod?.metadata.annotations ?? {};
  return {
    mode: spec.operatingMode ?? 'Running',
    reason: ready?.reason ?? '',
    message: ready?.message ?? '',
    idleTimeout: annotations[IDLE_TIMEOUT_ANNOTATION] ?? null,
    lastReportedUse: annotations[LAST_ACTIVE_ANNOTATION] ?? null,
    busyUntil: ofPod[BUSY_UNTIL_ANNOTATION] ?? null,
    busyWhy: ofPod[BUSY_WHY_ANNOTATION] ?? null,
  };
}

function describePresent(name: string, now: Present): string[] {
  const said = [now.reason, now.message].filter((text) => text !== '').join(': ');
  const lines = [`${name} is to be ${now.mode}; ${said === '' ? 'nothing is said of it yet' : plain(said)}`];
  lines.push(`idle timeout   ${plain(now.idleTimeout ?? "the tenant's or the router's")}`);
  if (now.lastReportedUse !== null) lines.push(`last use       ${plain(now.lastReportedUse)}, as reported`);
  if (now.busyUntil !== null) lines.push(`busy lease     until ${plain(now.busyUntil)}: ${plain(now.busyWhy ?? '')}`);
  return lines;
}

function tableOf(events: readonly LedgerEntry[]): string {
  if (events.length === 0) return 'Nothing is written of it, or not any more.';
  return textTable(
    ['WHEN', 'WHAT', 'COUNT', 'TOOK', 'BY', 'WHY'],
    events.map((entry) => [
      entry.lastAt.replace('T', ' ').replace(/\.\d+Z$/, 'Z'),
      entry.type.replace('_', ' '),
      String(entry.count),
      entry.durationMs === undefined ? '' : describeMs(entry.durationMs),
      plain(byOf(entry), 80),
      plain([entry.code, entry.detail].filter((text) => text !== undefined).join(': '), 120),
    ]),
  );
}

function byOf({ cause, sources, reporter }: LedgerEntry): string {
  if (cause !== undefined) return describeCause(cause);
  if (sources !== undefined) return sources.map(({ source, seconds }) => `${source} ${seconds} s`).join(', ');
  return reporter;
}
