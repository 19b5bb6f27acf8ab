import { isApiError } from './errors.ts';
import type { HttpResourceClient } from './http-client.ts';

/** The versions in which the API serves a resource, newest first by the server's own preference; empty when it serves none. */
export async function servedVersions(
  client: Pick<HttpResourceClient, 'read'>,
  group: string,
  plural: string,
): Promise<string[]> {
  const path = `/apis/${encodeURIComponent(group)}`;
  const found = await orUndefined(client.read(path));
  const { versions = [] } = (found ?? {}) as { versions?: { version: string }[] };
  const served = await Promise.all(
    versions.map(async ({ version }) => {
      const list = await orUndefined(client.read(`${path}/${encodeURIComponent(version)}`));
      const { resources = [] } = (list ?? {}) as { resources?: { name: string }[] };
      return resources.some((resource) => resource.name === plural) ? [version] : [];
    }),
  );
  return served.flat();
}

/** Versions of agents.x-k8s.io Sandbox that are served: `v1beta1`, `v1alpha1`, or both. Empty: Agent Sandbox is not installed. */
export function servedSandboxVersions(client: Pick<HttpResourceClient, 'read'>): Promise<string[]> {
  return servedVersions(client, 'agents.x-k8s.io', 'sandboxes');
}

async function orUndefined(promise: Promise<unknown>): Promise<unknown> {
  try {
    return await promise;
  } catch (error) {
    if (isApiError(error, 'NotFound')) return undefined;
    throw error;
  }
}
