/** What a credential may be used for: reaching sandboxes that run, starting paused ones, everything below `/-/v1`. */
export const SCOPES = ['route', 'wake', 'manage'] as const;

/** One of {@link SCOPES}. */
export type Scope = (typeof SCOPES)[number];

/** Who is calling. */
export interface Principal {
  tenant: string;
  /** Namespace of URLs that name none. */
  defaultNamespace: string;
  /** Namespaces that it may reach; `*` for all. */
  namespaces: ReadonlySet<string> | '*';
  scopes: ReadonlySet<Scope>;
  /** Public name of the credential, for logs and the ledger. */
  credentialId: string;
  /** Unix milliseconds; nothing may remember the decision longer. */
  expiresAtMs: number;
}

/** One way to find out who a credential belongs to. */
export interface Authenticator {
  readonly name: string;
  /** The principal, or undefined where the credential is not one of this authenticator's or not valid. */
  authenticate(credential: string, nowMs: number): Promise<Principal | undefined> | Principal | undefined;
}

/** Whether a principal may reach a namespace. */
export function mayReach(principal: Principal, namespace: string): boolean {
  return principal.namespaces === '*' || principal.namespaces.has(namespace);
}
