import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import {
  type ApiAccess,
  createHttpResourceClient,
  loadKubeConfig,
  type ObjectKey,
  objectWhen,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
} from '../kubernetes/index.ts';

/** Options that every verb on sandboxes takes. */
export interface VerbOptions {
  namespace: string;
  stateDir: string;
  kubeconfig?: string;
  timeout: string;
}

/** Adds the options of {@link VerbOptions} to a verb. */
export function addVerbOptions(command: Command): Command {
  return command
    .option('-n, --namespace <name>', 'namespace of the sandbox', 'default')
    .option(
      '--kubeconfig <path>',
      'cluster to talk to (default: <state-dir>/kubeconfig if there is one, else KUBECONFIG)',
    )
    .option('--state-dir <path>', 'state directory of "up"', '.sandbox-router')
    .option('--timeout <duration>', 'longest wait', '60s');
}

/** The API that the options point at: the engine of this directory, else the user's cluster. @throws KubeConfigError */
export function apiAccessOf(options: Pick<VerbOptions, 'kubeconfig' | 'stateDir'>): ApiAccess {
  const local = join(options.stateDir, 'kubeconfig');
  const path = options.kubeconfig ?? (existsSync(local) ? local : undefined);
  return loadKubeConfig(path === undefined ? {} : { path });
}

/** A client for the API that the options point at. */
export async function clientOf(options: VerbOptions): Promise<ResourceClient> {
  return createHttpResourceClient(apiAccessOf(options));
}

/**
 * Watches one Sandbox until `accept` says so; resolves with it.
 * @throws Error when `timeoutMs` passes, with what the Sandbox says of itself
 */
export async function waitForSandbox(
  client: ResourceClient,
  key: ObjectKey,
  timeoutMs: number,
  accept: (sandbox: Sandbox) => boolean,
): Promise<Sandbox> {
  const wait = { accepts: accept, signal: AbortSignal.timeout(timeoutMs) };
  const { object, outcome } = await objectWhen<Sandbox>(client, SANDBOXES, key, wait);
  if (outcome === 'accepted') return object;
  if (outcome === 'deleted') throw new Error(`Sandbox ${key.name} was deleted meanwhile.`);
  throw new Error(
    `Sandbox ${key.name} did not get there within ${timeoutMs / 1000} s. It says: ${describeConditions(object)}`,
  );
}

/** `Ready=False (SandboxSuspended: Sandbox is suspended)`, all conditions in one line. */
export function describeConditions(sandbox: Sandbox): string {
  const conditions = sandbox.status?.conditions ?? [];
  return (
    conditions.map((c) => `${c.type}=${c.status} (${c.reason ?? ''}: ${c.message ?? ''})`).join('; ') || 'nothing yet'
  );
}

/** The named condition, if it speaks of this generation or a later one. */
export function currentCondition(sandbox: Sandbox, type: string, generation: number) {
  return sandbox.status?.conditions?.find((c) => c.type === type && (c.observedGeneration ?? 0) >= generation);
}
