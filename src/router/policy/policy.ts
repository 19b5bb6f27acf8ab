import type { EgressClassSettings, TenantSettings } from '../../config/index.ts';
import { BUILT_IN_PROMISES, type EgressPromise } from './egress.ts';
import { createTenants, type Tenants } from './tenants.ts';

/** What the configuration says of who may reach what; all of it can change while the router runs. */
export interface PolicySettings {
  tenants: ReadonlyMap<string, TenantSettings> | undefined;
  egressRequired: boolean;
  egressVerify: 'off' | 'warn' | 'enforce';
  egressClasses: ReadonlyMap<string, EgressClassSettings>;
  runtimeRequire: 'off' | 'named' | 'always';
  runtimeClasses: readonly string[];
}

/** The policy in force. */
export interface Policy {
  readonly tenants: Tenants;
  settings(): PolicySettings;
  replace(settings: PolicySettings): void;
  onReplaced(listener: () => void): void;
}

/** What a class is held to of which nobody says what it promises: never to addresses that carry the credentials of nodes. */
const LEAST_PROMISE: EgressPromise = {
  clusterPeers: true,
  allowed: ['0.0.0.0/0', '::/0'],
  never: ['169.254.0.0/16', 'fe80::/10'],
};

/** A policy that starts with these settings. */
export function createPolicy(initial: PolicySettings): Policy {
  const tenants = createTenants(initial.tenants);
  const listeners = new Set<() => void>();
  let current = initial;
  return {
    tenants,
    settings: () => current,
    replace: (settings) => {
      current = settings;
      tenants.replace(settings.tenants);
      for (const listener of listeners) listener();
    },
    onReplaced: (listener) => listeners.add(listener),
  };
}

/** What a class promises: by the configuration, else built in. */
export function promiseOf({ egressClasses }: PolicySettings, egressClass: string): EgressPromise {
  // A label may say anything, "constructor" too.
  const builtIn = Object.hasOwn(BUILT_IN_PROMISES, egressClass) ? BUILT_IN_PROMISES[egressClass] : undefined;
  return egressClasses.get(egressClass) ?? builtIn ?? LEAST_PROMISE;
}
