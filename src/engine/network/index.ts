export { claimAddressRange } from './address-claims.ts';
export {
  type AddressRange,
  blockContains,
  blockOf,
  canonicalBlock,
  gatewayOf,
  numeric,
} from './addresses.ts';
export { EgressNamesError, parseEgressNames } from './dns/egress-names.ts';
export { CLUSTER_DOMAIN, type DnsClient, type DnsProxy, startDnsProxy } from './dns/proxy.ts';
export { type NameServer, systemNameServers } from './dns/upstream.ts';
export { createFirewall, type SandboxFirewall } from './firewall/firewall.ts';
export {
  type EgressName,
  NOTHING_ALLOWED,
  type OutsideBlock,
  type PortRange,
  type SandboxRules,
  type TrafficRule,
} from './firewall/rules.ts';
export type { PlacedRules } from './firewall/ruleset.ts';
export { enableForwarding } from './forwarding.ts';
export { createLoopbackNetwork } from './loopback-network.ts';
export type { SandboxNetwork } from './network.ts';
export { createVethNetwork, type VethNetworkOptions } from './veth-network.ts';
