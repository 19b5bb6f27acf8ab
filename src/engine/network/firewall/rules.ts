/** Ports of one protocol; all of them without `first`. */
export interface PortRange {
  protocol: 'TCP' | 'UDP' | 'SCTP';
  first?: number;
  last?: number;
}

/** A block of addresses outside, without some parts. IPv4 in canonical form. */
export interface OutsideBlock {
  cidr: string;
  except: string[];
}

/** What one rule lets through: everything that meets one of its peers and one of its ports. */
export interface TrafficRule {
  /** `anywhere`: outside and every sandbox. Blocks never mean sandboxes: those are named one by one. */
  peers: 'anywhere' | { blocks: OutsideBlock[]; sandboxes: string[] };
  /** `any` counts for every protocol, ICMP among them. */
  ports: 'any' | PortRange[];
}

/** What a sandbox may do on the network. */
export interface SandboxRules {
  egress: TrafficRule[];
  /** Undefined where no policy selects the sandbox: others may call it (if their egress lets them), the outside may not. */
  ingress: TrafficRule[] | undefined;
  /** Names (see {@link EgressName}) whose answers open the addresses in them. */
  names: EgressName[];
  /** Whether the DNS proxy resolves any name for it, instead of only `names` and those of Services. */
  resolvesAnyName: boolean;
}

/** A name that a sandbox may call, `*.` in front for all names below it; without `port`, every port. */
export interface EgressName {
  name: string;
  port?: number;
}

/** A sandbox that is not to reach anything. */
export const NOTHING_ALLOWED: SandboxRules = { egress: [], ingress: undefined, names: [], resolvesAnyName: false };
