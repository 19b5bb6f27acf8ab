export { createPolicy, type Policy, type PolicySettings, promiseOf } from './policy.ts';
export { implicitTenant, type Tenant, type Tenants } from './tenants.ts';
