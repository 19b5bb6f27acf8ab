import type { SandboxClaim, SandboxWarmPool } from '../../../kubernetes/index.ts';
import type { Check } from '../check.ts';
import type { Facts } from '../facts.ts';
import { count, failure, nameOf, ok, referenceTo, type Verdict, warning } from '../finding.ts';

/** Label on a claimed Sandbox: `warm` came from a pool, `cold` had to be started. */
const LAUNCH_TYPE_LABEL = 'agents.x-k8s.io/launch-type';
/** Below this share of warm starts a pool is too small for its claims. */
const LEAST_HIT_RATE = 0.8;
/** So many claims at least, before a rate says anything. */
const LEAST_CLAIMS = 5;

/** Whether claims find sandboxes that wait for them. */
export const warmPools: Check = {
  id: 'warm-pools',
  title: 'warm pools are full, and claims are served from them',
  needs: ['sandboxes', 'pools', 'claims', 'templates'],
  judge: judgePools,
};

/** Each pool, and claims on pools that there are not. */
export function judgePools(facts: Facts): Verdict[] {
  const pools = facts.lists.pools.items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const byPool = Map.groupBy(launchesOf(facts), ({ pool }) => pool);
  const verdicts = pools.flatMap((pool) => {
    const faults = [
      ...judgeTemplate(facts, pool),
      ...judgeFilling(pool),
      ...judgeHits(pool, byPool.get(keyOf(pool)) ?? []),
    ];
    return faults.length > 0 ? faults : [fine(pool, byPool.get(keyOf(pool)) ?? [])];
  });
  const orphans = judgeClaims(facts, new Set(pools.map(keyOf)));
  const all = [...verdicts, ...orphans];
  return all.length > 0 ? all : [ok('There are no warm pools.')];
}

function judgeTemplate({ lists }: Facts, pool: SandboxWarmPool): Verdict[] {
  const { namespace = '' } = pool.metadata;
  const { name } = pool.spec.sandboxTemplateRef;
  if (lists.templates.items.some(({ metadata }) => metadata.name === name && metadata.namespace === namespace))
    return [];
  const template = { kind: 'SandboxTemplate', namespace, name };
  const object = referenceTo(pool);
  return [
    failure(
      object,
      `${nameOf(template)}, from which it is to be filled, does not exist.`,
      `Create ${nameOf(template)}, or set spec.sandboxTemplateRef.name in ${nameOf(object)} to one that exists.`,
    ),
  ];
}

function judgeFilling(pool: SandboxWarmPool): Verdict[] {
  const wanted = wantedOf(pool);
  const ready = pool.status?.readyReplicas ?? 0;
  if (ready >= wanted) return [];
  const object = referenceTo(pool);
  const fix = `See why its sandboxes are not Ready (kubectl get sandboxes,pods,events -n ${object.namespace}), or lower spec.replicas of ${nameOf(object)}.`;
  return ready === 0
    ? [failure(object, `It is starved: none of ${wanted} wanted is ready, so every claim starts cold.`, fix)]
    : [warning(object, `Only ${ready} of ${count(wanted, 'sandbox', 'sandboxes')} are ready.`, fix)];
}

function judgeHits(pool: SandboxWarmPool, launches: readonly Launch[]): Verdict[] {
  const warm = launches.filter((launch) => launch.warm).length;
  if (launches.length < LEAST_CLAIMS || warm / launches.length >= LEAST_HIT_RATE) return [];
  const object = referenceTo(pool);
  const custom = launches.filter((launch) => launch.custom).length;
  const rate = `${hitRate(launches)}, less than ${LEAST_HIT_RATE * 100} %.`;
  // Claims with variables or volumes of their own pass the pool by (contract section 2.7).
  return [
    custom > launches.length * (1 - LEAST_HIT_RATE)
      ? warning(
          object,
          `${rate} ${custom} of its claims carry env or volumeClaimTemplates, and such claims never start warm.`,
          `Move what these claims set into the SandboxTemplate of ${nameOf(object)}.`,
        )
      : warning(object, rate, `Raise spec.replicas of ${nameOf(object)} above ${wantedOf(pool)}.`),
  ];
}

function judgeClaims({ lists }: Facts, pools: ReadonlySet<string>): Verdict[] {
  return lists.claims.items.flatMap((claim) => {
    const name = poolNameOf(claim);
    const { namespace = '', deletionTimestamp } = claim.metadata;
    if (name === undefined || deletionTimestamp !== undefined || pools.has(`${namespace}/${name}`)) return [];
    const object = referenceTo(claim);
    const pool = nameOf({ kind: 'SandboxWarmPool', namespace, name });
    return [
      warning(object, `${pool}, from which it claims, does not exist.`, `Create ${pool}, or delete ${nameOf(object)}.`),
    ];
  });
}

/** How one claim got its sandbox. */
interface Launch {
  pool: string;
  warm: boolean;
  /** Whether the claim asked for what no pool member has. */
  custom: boolean;
}

/** Claims that have a sandbox which says how it was started. */
function launchesOf({ lists }: Facts): Launch[] {
  const types = new Map(
    lists.sandboxes.items.map(({ metadata }) => [
      `${metadata.namespace}/${metadata.name}`,
      metadata.labels?.[LAUNCH_TYPE_LABEL],
    ]),
  );
  return lists.claims.items.flatMap((claim) => {
    const type = types.get(`${claim.metadata.namespace}/${claim.status?.sandbox?.name}`);
    if (type !== 'warm' && type !== 'cold') return [];
    const custom = (claim.spec.env?.length ?? 0) + (claim.spec.volumeClaimTemplates?.length ?? 0) > 0;
    return [{ pool: `${claim.metadata.namespace}/${poolNameOf(claim)}`, warm: type === 'warm', custom }];
  });
}

function fine(pool: SandboxWarmPool, launches: readonly Launch[]): Verdict {
  const rate = launches.length === 0 ? 'nothing is claimed from it' : hitRate(launches);
  return ok(
    `${nameOf(referenceTo(pool))}: ${pool.status?.readyReplicas ?? 0} ready of ${wantedOf(pool)} wanted; ${rate}.`,
  );
}

function hitRate(launches: readonly Launch[]): string {
  const warm = launches.filter((launch) => launch.warm).length;
  return `${warm} of ${count(launches.length, 'claim')} started warm (${Math.round((100 * warm) / launches.length)} %)`;
}

function wantedOf({ spec }: SandboxWarmPool): number {
  return spec.replicas ?? 1;
}

function keyOf({ metadata }: SandboxWarmPool): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** Claims of v1alpha1 name a template instead; where only that is served, another check says to upgrade. */
function poolNameOf({ spec }: SandboxClaim): string | undefined {
  return (spec.warmPoolRef as { name: string } | undefined)?.name;
}
