import {
  FIRST_OBSERVED_ANNOTATION,
  isApiError,
  type ResourceClient,
  SANDBOX_CLAIMS,
  SANDBOX_NAME_ANNOTATION,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
  type SandboxTemplate,
  type SandboxWarmPool,
} from '../../../kubernetes/index.ts';
import type { EventRecorder } from '../events.ts';
import type { ExtensionCaches } from '../extension-caches.ts';
import { find } from '../sandbox/api.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { blueprintHash } from '../template/blueprint.ts';
import { podMetadataFor } from './pod-metadata.ts';
import { ClaimRejectedError } from './rejection.ts';
import { adoptionPatch, sandboxForClaim } from './sandbox-for-claim.ts';
import { poolUidOf, type WarmQueue } from './warm-queue.ts';

/** What finding a Sandbox for a claim needs. */
export interface ResolverOptions {
  client: ResourceClient;
  caches: ExtensionCaches;
  warmQueue: WarmQueue;
  events: EventRecorder;
  now(): Date;
}

/** Where a claim's Sandbox came from: it had one, or got one just now. */
export interface Resolution {
  sandbox: Sandbox;
  how: 'bound' | 'adopted' | 'created';
}

/** The claim's status follows in the same pass, and is durable only after these. */
const PIPELINED = { type: 'merge', pipelined: true } as const;
/** A pool or template that isn't there is looked for again after this time, or when one of that name appears. */
const MISSING_RECHECK_MS = 60_000;
/** While members of the pool start, a claim waits for one until it is so old. */
const ADDRESS_WAIT_MS = 2000;
const ADDRESS_RETRY_MS = 500;
/** A candidate that somebody else changed: the next one is tried so often in one pass. */
const ADOPTION_ATTEMPTS = 3;

/** Finds, adopts or makes the Sandbox of a claim, in the order of contract section 2.7. @throws ClaimRejectedError */
export function createResolver(options: ResolverOptions) {
  const { client, caches, warmQueue, events, now } = options;

  return { bound, template: templateOf, obtain };

  /** The Sandbox that a claim has: by its status, by its annotation (or older label), or by its own name. */
  async function bound(claim: SandboxClaim): Promise<Sandbox | undefined> {
    const { metadata, status } = claim;
    const named = [status?.sandbox?.name, assignedName(claim)];
    for (const name of new Set([...named, metadata.name])) {
      if (!name) continue;
      const key = { ...metadata, name };
      const seen = caches.sandboxes.get(`${metadata.namespace ?? ''}/${name}`);
      // Nothing says that there is one of the claim's name, and making one would tell: most claims never have it.
      if (seen === undefined && !named.includes(name)) continue;
      const sandbox =
        seen !== undefined && isControlledBy(seen, claim) ? seen : await find<Sandbox>(client, SANDBOXES, key);
      if (sandbox !== undefined && isControlledBy(sandbox, claim)) return sandbox;
      if (sandbox !== undefined && name === metadata.name)
        throw new ClaimRejectedError(
          'ReconcilerError',
          `Error seen: sandbox "${name}" is not controlled by claim "${name}". Please use a different claim name or delete the sandbox manually`,
        );
    }
    return undefined;
  }

  function poolOf({ metadata, spec }: SandboxClaim): SandboxWarmPool | undefined {
    return caches.pools.get(`${metadata.namespace ?? ''}/${spec.warmPoolRef.name}`);
  }

  /** @throws ClaimRejectedError WarmPoolNotFound, TemplateNotFound */
  function templateOf(claim: SandboxClaim): SandboxTemplate {
    const pool = poolOf(claim);
    const { name } = claim.spec.warmPoolRef;
    if (pool === undefined)
      throw new ClaimRejectedError('WarmPoolNotFound', `SandboxWarmPool "${name}" not found`, MISSING_RECHECK_MS);
    const templateName = pool.spec.sandboxTemplateRef.name;
    const template = caches.templates.get(`${claim.metadata.namespace ?? ''}/${templateName}`);
    if (template === undefined)
      throw new ClaimRejectedError(
        'TemplateNotFound',
        `SandboxTemplate "${templateName}" not found`,
        MISSING_RECHECK_MS,
      );
    return template;
  }

  /** A Sandbox for a claim that has none. */
  async function obtain(claim: SandboxClaim, template: SandboxTemplate): Promise<Resolution> {
    const { env = [], volumeClaimTemplates = [] } = claim.spec;
    // Before anything is taken: what this claim adds must fit.
    podMetadataFor(claim, template);
    const sandbox =
      (await finishAdoption(claim, template)) ??
      (env.length === 0 && volumeClaimTemplates.length === 0 ? await adopt(claim, template) : undefined);
    if (sandbox !== undefined) return { sandbox, how: 'adopted' };
    return { sandbox: await create(claim, template), how: 'created' };
  }

  /** An adoption that was begun and never completed: the claim names a Sandbox that is still in its pool. */
  async function finishAdoption(claim: SandboxClaim, template: SandboxTemplate): Promise<Sandbox | undefined> {
    const name = assignedName(claim);
    if (name === undefined) return undefined;
    const sandbox = await find<Sandbox>(client, SANDBOXES, { ...claim.metadata, name });
    if (sandbox === undefined || poolUidOf(sandbox) === undefined) return undefined;
    const adopted = await patchOver(claim, sandbox, template);
    if (adopted !== undefined) tellAdopted(claim, adopted);
    return adopted;
  }

  async function adopt(claim: SandboxClaim, template: SandboxTemplate): Promise<Sandbox | undefined> {
    const pool = poolOf(claim);
    const freshHash = pool?.spec.updateStrategy?.type === 'Recreate' ? blueprintHash(template) : undefined;
    for (let attempt = 0, current = claim; attempt < ADOPTION_ATTEMPTS; attempt++) {
      const candidate = warmQueue.take(pool?.metadata.uid ?? '', freshHash);
      if (candidate === undefined) return undefined;
      if (candidate === 'waiting') {
        const ageMs = now().getTime() - Date.parse(claim.metadata.creationTimestamp ?? '');
        if (ageMs >= ADDRESS_WAIT_MS) return undefined;
        throw new ClaimRejectedError(
          'SandboxCreatePending',
          'Sandboxes of the warm pool have no address yet',
          ADDRESS_RETRY_MS,
        );
      }
      let adopted: Sandbox | undefined;
      try {
        current = await assign(current, candidate);
        adopted = await patchOver(current, candidate, template);
      } finally {
        if (adopted === undefined) warmQueue.giveBack(candidate);
      }
      if (adopted !== undefined) {
        tellAdopted(claim, adopted);
        return adopted;
      }
    }
    throw new ClaimRejectedError('AdoptionConflict', 'The chosen sandboxes were taken or changed meanwhile', 1);
  }

  /** First write: the claim names its choice, unless the claim changed meanwhile (then Conflict, and another pass). */
  async function assign(claim: SandboxClaim, { metadata: { name } }: Sandbox): Promise<SandboxClaim> {
    const { uid, resourceVersion, annotations } = claim.metadata;
    const observed = annotations?.[FIRST_OBSERVED_ANNOTATION] ?? now().toISOString();
    const changes = { [SANDBOX_NAME_ANNOTATION]: name, [FIRST_OBSERVED_ANNOTATION]: observed };
    const patch = { metadata: { uid, resourceVersion, annotations: changes } };
    return await client.patch<SandboxClaim>(SANDBOX_CLAIMS, claim.metadata, patch, PIPELINED);
  }

  /** Second write; undefined when the Sandbox changed meanwhile. */
  async function patchOver(
    claim: SandboxClaim,
    sandbox: Sandbox,
    template: SandboxTemplate,
  ): Promise<Sandbox | undefined> {
    try {
      const patch = adoptionPatch(claim, sandbox, template);
      return await client.patch<Sandbox>(SANDBOXES, sandbox.metadata, patch, PIPELINED);
    } catch (error) {
      if (isApiError(error, 'Conflict') || isApiError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async function create(claim: SandboxClaim, template: SandboxTemplate): Promise<Sandbox> {
    const sandbox = await client.create<Sandbox>(SANDBOXES, sandboxForClaim(claim, template));
    events.note(claim, 'SandboxProvisioned', `Created Sandbox "${sandbox.metadata.name}"`);
    return sandbox;
  }

  function tellAdopted(claim: SandboxClaim, { metadata }: Sandbox): void {
    events.note(claim, 'SandboxAdopted', `Adopted warm pool Sandbox "${metadata.name}"`);
  }
}

/** Whether a claim is a Sandbox's controller, by UID. */
export function isControlledBy(sandbox: Sandbox, claim: SandboxClaim): boolean {
  return controllerOf(sandbox)?.uid === claim.metadata.uid;
}

function assignedName({ metadata }: SandboxClaim): string | undefined {
  return metadata.annotations?.[SANDBOX_NAME_ANNOTATION] || metadata.labels?.[SANDBOX_NAME_ANNOTATION] || undefined;
}
