import { isDeepStrictEqual } from 'node:util';
import {
  NETWORK_POLICIES,
  type NetworkPolicy,
  nameHash,
  type ResourceClient,
  SANDBOX_TEMPLATES,
  type SandboxTemplate,
  TEMPLATE_REF_HASH_LABEL,
} from '../../../kubernetes/index.ts';
import type { ExtensionCaches } from '../extension-caches.ts';
import { keyOf } from '../object-cache.ts';
import { deleteIfThere, find } from '../sandbox/api.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { createWorkQueue } from '../work-queue.ts';
import { networkPolicyFor, networkPolicyName } from './network-policy.ts';

/** What the template controller needs. */
export interface TemplateControllerOptions {
  client: ResourceClient;
  caches: ExtensionCaches;
  failed(what: string, error: unknown): void;
}

/** Templates → label and NetworkPolicy (contract sections 1.6 and 2.9). Resolves when what is under way at the close is done. */
export function startTemplateController({ client, caches, failed }: TemplateControllerOptions): {
  close(): Promise<void>;
} {
  const queue = createWorkQueue({ reconcile, failed: (key, error) => failed(`template ${key}`, error) });
  caches.templates.listen((after) => {
    if (after !== undefined) queue.add(keyOf(after));
  });

  async function reconcile(key: string): Promise<void> {
    const template = caches.templates.get(key);
    if (template === undefined || template.metadata.deletionTimestamp !== undefined) return;
    await label(template);
    await reconcilePolicy(template);
  }

  async function label({ metadata }: SandboxTemplate): Promise<void> {
    const wanted = nameHash(metadata.name);
    if (metadata.labels?.[TEMPLATE_REF_HASH_LABEL] === wanted) return;
    const patch = { metadata: { uid: metadata.uid, labels: { [TEMPLATE_REF_HASH_LABEL]: wanted } } };
    await client.patch(SANDBOX_TEMPLATES, metadata, patch, { type: 'merge' });
  }

  async function reconcilePolicy(template: SandboxTemplate): Promise<void> {
    const wanted = networkPolicyFor(template);
    const key = { ...template.metadata, name: networkPolicyName(template) };
    const found = await find<NetworkPolicy>(client, NETWORK_POLICIES, key);
    const ours = found !== undefined && controllerOf(found)?.uid === template.metadata.uid;
    if (found !== undefined && !ours) {
      if (wanted !== undefined)
        throw new Error(`NetworkPolicy ${key.name} exists and is not controlled by this template`);
      return;
    }
    if (wanted === undefined) {
      if (found !== undefined) await deleteIfThere(client, NETWORK_POLICIES, found);
    } else if (found === undefined) {
      await client.create(NETWORK_POLICIES, wanted);
    } else if (!isDeepStrictEqual(found.spec, wanted.spec)) {
      await client.update(NETWORK_POLICIES, { ...found, spec: wanted.spec });
    }
  }

  return { close: () => queue.close() };
}
