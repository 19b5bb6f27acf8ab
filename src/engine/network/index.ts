export { createLoopbackNetwork } from './loopback-network.ts';
export type { SandboxNetwork } from './network.ts';
export { type AddressRange, addressRangeOf, createVethNetwork, type VethNetworkOptions } from './veth-network.ts';
