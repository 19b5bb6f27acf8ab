import type { Tenant } from '../policy/index.ts';
import type { LinkClaims } from './link/index.ts';

/** What a credential may be used for: reaching sandboxes that run, starting paused ones, everything below `/-/v1`. */
export const SCOPES = ['route', 'wake', 'manage'] as const;

/** One of {@link SCOPES}. */
export type Scope = (typeof SCOPES)[number];

/** What a credential says, before anybody asked who its tenant is. */
export interface Credential {
  tenant: string;
  /** Namespaces that it is limited to; those of its tenant where undefined. `*` for all that the tenant has. */
  namespaces: ReadonlySet<string> | '*' | undefined;
  scopes: ReadonlySet<Scope>;
  /** Public name of the credential, for logs and the ledger. */
  credentialId: string;
  /** Unix milliseconds; nothing may remember the decision longer. */
  expiresAtMs: number;
  /** The only sandbox that it is for. */
  sandbox?: SandboxName;
  /** Asked for each sandbox where the cluster decides. */
  mayProxy?: MayProxy;
  /** Of whoever runs the router: no tenant limits it. */
  operator?: boolean;
  /** What a link leaves of its sandbox. */
  link?: LinkClaims;
  /** Unix milliseconds at which the credential itself ends, where `expiresAtMs` is only how long a decision holds. */
  endsAtMs?: number;
}

/** Names one sandbox. */
export interface SandboxName {
  namespace: string;
  name: string;
}

/** Whether the cluster lets a caller reach a sandbox; an answer that is remembered comes without waiting. */
export type MayProxy = (sandbox: SandboxName) => boolean | Promise<boolean>;

/** Who is calling. */
export interface Principal {
  tenant: Tenant;
  /** Namespace of URLs that name none. */
  defaultNamespace: string;
  /** Namespaces that it may reach; `*` for all. */
  namespaces: ReadonlySet<string> | '*';
  scopes: ReadonlySet<Scope>;
  credentialId: string;
  expiresAtMs: number;
  /** The only sandbox that it may reach. */
  sandbox: SandboxName | undefined;
  mayProxy: MayProxy | undefined;
  /** What a link leaves of its sandbox; undefined for other credentials. */
  link: LinkClaims | undefined;
  /** Unix milliseconds; nothing that is made in its name may live longer. */
  endsAtMs: number;
}

/** One way to find out who a credential belongs to. */
export interface Authenticator {
  readonly name: string;
  /** What the credential says, or undefined where it is not one of this authenticator's or not valid. */
  authenticate(credential: string, nowMs: number): Promise<Credential | undefined> | Credential | undefined;
}

/** Whether a principal may reach a namespace. */
export function mayReach(principal: Principal, namespace: string): boolean {
  return principal.namespaces === '*' || principal.namespaces.has(namespace);
}

/** Whether a principal may know of a sandbox, as far as its credential tells. */
export function maySee(principal: Principal, { namespace, name }: SandboxName): boolean {
  const { sandbox } = principal;
  if (sandbox !== undefined && (sandbox.namespace !== namespace || sandbox.name !== name)) return false;
  return mayReach(principal, namespace);
}
