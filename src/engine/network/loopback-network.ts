import type { SandboxNetwork } from './network.ts';

/** Addresses of 127.0.0.0/8 for the process runtime without root: no namespace, no isolation, but an own address for each sandbox. */
export function createLoopbackNetwork(): SandboxNetwork {
  const addresses = new Map<string, string>();

  function choose(id: string): string {
    const taken = new Set(addresses.values());
    const seed = Number.parseInt(id.slice(0, 6), 16);
    for (let step = 0; ; step++) {
      const value = (seed + step) % 0xfe_ff_fe;
      const address = `127.${1 + ((value >> 16) & 0xfd)}.${(value >> 8) & 0xff}.${1 + (value & 0x7f)}`;
      if (!taken.has(address)) return address;
    }
  }

  return {
    attach: async (id, preferredAddress) => {
      const held = [...addresses].some(([other, address]) => other !== id && address === preferredAddress);
      const address = preferredAddress !== undefined && !held ? preferredAddress : (addresses.get(id) ?? choose(id));
      addresses.set(id, address);
      return { address };
    },
    detach: async (id) => {
      addresses.delete(id);
    },
    list: async () => [...addresses.keys()],
    adopt: (id, address) => {
      addresses.set(id, address);
    },
    attachments: () => addresses,
    onChange: () => {},
    close: async () => {},
  };
}
