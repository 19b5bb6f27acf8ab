import type { ResourceType } from './client.ts';
import { servedVersions } from './discovery.ts';
import type { HttpResourceClient } from './http-client.ts';
import { SANDBOXES } from './resources.ts';
import type { KubernetesObject, PodTemplate } from './types.ts';

/** One of the forms in which an API may serve Sandboxes (contract sections 0 and 1.1): where they say what others say elsewhere. */
export interface SandboxForm {
  type: ResourceType;
  running(sandbox: KubernetesObject): boolean;
  /** Merge patch of `spec` that makes it run, or not. */
  mode(running: boolean): Record<string, unknown>;
  podTemplate(sandbox: KubernetesObject): PodTemplate | undefined;
}

type Loose = KubernetesObject & {
  spec?: { operatingMode?: string; replicas?: number; podTemplate?: PodTemplate; template?: PodTemplate };
};

const byOperatingMode = {
  running: (sandbox: KubernetesObject) => ((sandbox as Loose).spec?.operatingMode ?? 'Running') === 'Running',
  mode: (running: boolean) => ({ operatingMode: running ? 'Running' : 'Suspended' }),
};

/** The form that upstream stores today. */
export const V1BETA1_FORM: SandboxForm = {
  type: SANDBOXES,
  ...byOperatingMode,
  podTemplate: (sandbox) => (sandbox as Loose).spec?.podTemplate,
};

/** In the order in which they are preferred. */
export const SANDBOX_FORMS: readonly SandboxForm[] = [
  V1BETA1_FORM,
  {
    type: { ...SANDBOXES, version: 'v1alpha1' },
    running: (sandbox) => ((sandbox as Loose).spec?.replicas ?? 1) > 0,
    mode: (running) => ({ replicas: running ? 1 : 0 }),
    podTemplate: (sandbox) => (sandbox as Loose).spec?.podTemplate,
  },
  {
    type: { ...SANDBOXES, group: 'sandbox.gke.io', version: 'v1' },
    ...byOperatingMode,
    podTemplate: (sandbox) => (sandbox as Loose).spec?.template,
  },
];

/** The first form that the API serves; undefined if Agent Sandbox is not installed. @throws ApiError if the API can't be asked */
export async function discoverSandboxForm(client: Pick<HttpResourceClient, 'read'>): Promise<SandboxForm | undefined> {
  const served = new Map<string, string[]>();
  for (const { type } of SANDBOX_FORMS)
    if (!served.has(type.group)) served.set(type.group, await servedVersions(client, type.group, type.plural));
  return SANDBOX_FORMS.find(({ type }) => served.get(type.group)?.includes(type.version));
}
