export { createAwakeCount } from './awake.ts';
export { refusedByClass } from './classes.ts';
export { type EgressPolicy, egressPolicyOf } from './egress.ts';
export { createLimits, type Limits } from './limits.ts';
export type { Pacer } from './pacer.ts';
export { createPodJudge, type PodJudge } from './pod-judge.ts';
export { createPolicy, type Policy, type PolicySettings, promiseOf } from './policy.ts';
export { implicitTenant, type RouterShare, type Tenant, type Tenants, type TenantUsage } from './tenants.ts';
export { type TokenBucket, takeToken } from './token-bucket.ts';
