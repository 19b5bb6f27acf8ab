import { join } from 'node:path';
import type { CommandShell } from './command-shell.ts';
import type { PolicyController } from './controllers/index.ts';
import {
  type AddressRange,
  blockOf,
  createFirewall,
  gatewayOf,
  type NameServer,
  type SandboxFirewall,
  startDnsProxy,
  systemNameServers,
} from './network/index.ts';

/** What brings the rules of sandboxes into effect. */
export interface NetworkEnforcementOptions {
  engineDirectory: string;
  engineTag: string;
  subnet: AddressRange;
  shell: CommandShell;
  policies: PolicyController;
  nameServers?: readonly NameServer[];
  report(what: string, error: unknown): void;
}

/**
 * DNS proxy and firewall of an engine. Until `enforce`, the rules that an engine left which was killed stay in effect, and new sandboxes reach nothing; `enforce`
 * comes once the sandboxes that still run are found again.
 */
export async function startNetworkEnforcement(options: NetworkEnforcementOptions) {
  const { engineTag, subnet, shell, policies, report, nameServers: given = [] } = options;
  let firewall: SandboxFirewall | undefined;
  const gateway = gatewayOf(subnet);
  const dns = await startDnsProxy({
    address: gateway,
    servers: () => (given.length > 0 ? given : systemNameServers()),
    clientAt: policies.clientAt,
    serviceAddresses: policies.serviceAddresses,
    open: async (id, addresses) => await firewall?.open(id, addresses),
    failed: report,
  });
  const wall = await createFirewall({
    engineTag,
    gateway,
    subnet: blockOf(subnet),
    dnsPort: dns.port,
    shell,
    directory: join(options.engineDirectory, 'firewall'),
  });
  firewall = wall;
  return {
    enforce: () => policies.enforce(wall),
    close: async () => {
      await dns.close();
      await wall.close();
    },
  };
}
