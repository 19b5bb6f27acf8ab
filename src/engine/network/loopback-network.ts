import type { SandboxNetwork } from './network.ts';
import { createReservations } from './reservations.ts';

/** Reserved addresses at most; there are sixteen million. */
const MOST_RESERVED = 100_000;

/** Addresses of 127.0.0.0/8 for the process runtime without root: no namespace, no isolation, but an own address for each sandbox. */
export function createLoopbackNetwork(): SandboxNetwork {
  const addresses = new Map<string, string>();
  const taken = new Set<string>();
  const reservations = createReservations<string>(MOST_RESERVED);

  function choose(id: string): string {
    const seed = Number.parseInt(id.slice(0, 6), 16);
    for (let step = 0; ; step++) {
      const value = (seed + step) % 0xfe_ff_fe;
      const address = `127.${1 + ((value >> 16) & 0xfd)}.${(value >> 8) & 0xff}.${1 + (value & 0x7f)}`;
      if (!taken.has(address)) return address;
    }
  }

  function free(address: string | undefined): void {
    if (address !== undefined) taken.delete(address);
  }

  function assign(id: string, address: string): void {
    free(addresses.get(id));
    taken.add(address);
    addresses.set(id, address);
  }

  return {
    attach: async (id, preferredAddress, reservation) => {
      const reserved = reservation === undefined ? undefined : reservations.take(reservation);
      free(reserved);
      const wanted = reserved ?? preferredAddress;
      const own = addresses.get(id);
      const held = wanted !== own && wanted !== undefined && taken.has(wanted);
      const address = wanted !== undefined && !held ? wanted : (own ?? choose(id));
      assign(id, address);
      return { address, wasReserved: reserved !== undefined };
    },
    open: async () => {},
    prepare: async (_id, likelyAddress) => ({ address: likelyAddress }),
    detach: async (id, reservation) => {
      const address = addresses.get(id);
      addresses.delete(id);
      if (reservation === undefined || address === undefined) free(address);
      else free(reservations.keep(reservation, address));
    },
    reserve: (reservation, address) => {
      if (taken.has(address)) return;
      taken.add(address);
      free(reservations.keep(reservation, address));
    },
    release: async (reservation) => free(reservations.take(reservation)),
    list: async () => [...addresses.keys()],
    adopt: assign,
    attachments: () => addresses,
    onChange: () => {},
    close: async () => {},
  };
}
