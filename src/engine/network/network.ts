import type { NetworkAttachment } from '../runtime/index.ts';

/** Where a sandbox's traffic comes in. */
export interface ReservedAttachment extends NetworkAttachment {
  /** Whether the address was reserved all the time since it was detached under the same reservation. */
  wasReserved: boolean;
}

/**
 * Gives each sandbox its own network namespace, veth pair and address. Ids are container ids. Every call can be repeated after a crash
 * at any instant; what it finds half made, it makes anew.
 */
export interface SandboxNetwork {
  /**
   * Makes the namespace anew with its address on it (runsc takes addresses off the interface at every start, so this comes before every
   * run and restore). Asks for the address that is reserved under `reservation` if there is one, else for `preferredAddress`, else for the one this id had,
   * else for a free one. With `later` a namespace that is not there yet is left to whoever starts the container: `making` says how.
   */
  attach(id: string, preferredAddress?: string, reservation?: string, later?: boolean): Promise<ReservedAttachment>;
  /**
   * Makes the namespace ahead of {@link SandboxNetwork.attach}, which then takes less time, most of all if it is for `likelyAddress`; the address is not kept from
   * others. Nothing passes until then.
   */
  prepare(id: string, likelyAddress: string): Promise<NetworkAttachment>;
  /**
   * Lets traffic pass that was kept off since {@link SandboxNetwork.prepare}, or may have been since before {@link SandboxNetwork.adopt}; to be called after
   * {@link SandboxNetwork.attach}. No error where it passes already; nothing is done where `unless` has been aborted when it would.
   */
  open(id: string, unless?: AbortSignal): Promise<void>;
  /**
   * Removes namespace, veth and address; unknown ids are no error. With a `reservation` (a snapshot's id) the address is kept from others until it is asked
   * for under that name, or released: connections to it sleep meanwhile. One that was never opened gives its address back to the reservation that it came from.
   */
  detach(id: string, reservation?: string): Promise<void>;
  /** Keeps an address from others, as an earlier engine did; not one that somebody has. */
  reserve(reservation: string, address: string): void;
  /** Gives a reserved address back. Connections of this machine to it are cut before anybody else gets it. Unknown reservations are no error. */
  release(reservation: string): Promise<void>;
  /** Ids that hold a namespace or veth now. */
  list(): Promise<string[]>;
  /** Keeps the id's address taken (a running sandbox found after a restart). */
  adopt(id: string, address: string): void;
  /** Addresses by id, of all that are attached now. */
  attachments(): ReadonlyMap<string, string>;
  /** Calls back after each change of {@link SandboxNetwork.attachments}. */
  onChange(listener: () => void): void;
  /** Removes what all sandboxes share; what belongs to single ones stays. */
  close(): Promise<void>;
}
