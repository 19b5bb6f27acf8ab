import {
  isApiError,
  objectWhen,
  type ResourceClient,
  SANDBOX_CLAIMS,
  type SandboxClaim,
} from '../../kubernetes/index.ts';
import type { RoutingTable } from '../table/index.ts';

/** Reasons after which waiting is of no use (contract section 4.1). */
const HOPELESS = new Set([
  'TemplateNotFound',
  'WarmPoolNotFound',
  'InvalidMetadata',
  'EnvVarsInjectionRejected',
  'VolumeClaimTemplatesError',
  'ClaimExpired',
  'SandboxExpired',
]);

/** Waits until a claim is Ready and this router's table leads to its sandbox, or can't be, or the signal; resolves with the claim as it is then. */
export async function untilReady(
  client: ResourceClient,
  table: RoutingTable,
  claim: SandboxClaim,
  signal: AbortSignal,
): Promise<SandboxClaim> {
  const { namespace = '', name } = claim.metadata;
  let latest = claim;
  try {
    const accepts = (seen: SandboxClaim) => {
      latest = seen;
      return isSettled(seen);
    };
    const wait = { accepts, signal, known: claim };
    const { outcome } = await objectWhen(client, SANDBOX_CLAIMS, { namespace, name }, wait);
    if (outcome === 'deleted') return latest;
  } catch (error) {
    // The claim is there, whatever became of the watch.
    if (!isApiError(error)) throw error;
    return latest;
  }
  const sandbox = latest.status?.sandbox?.name;
  if (sandbox !== undefined && isReady(latest)) await untilRoutable(table, namespace, sandbox, signal);
  return latest;
}

function isReady({ status }: SandboxClaim): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
}

function isSettled(claim: SandboxClaim): boolean {
  if (isReady(claim)) return true;
  const ready = claim.status?.conditions?.find(({ type }) => type === 'Ready');
  return HOPELESS.has(ready?.reason ?? '');
}

/** The table hears of it by a watch of its own, a moment later. */
function untilRoutable(table: RoutingTable, namespace: string, name: string, signal: AbortSignal): Promise<void> {
  const arrived = () => {
    const route = table.find(namespace, name);
    return route !== undefined && table.isRoutable(route);
  };
  if (arrived() || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      stop();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const stop = table.onChange(() => (arrived() ? end() : undefined));
    signal.addEventListener('abort', end);
  });
}
