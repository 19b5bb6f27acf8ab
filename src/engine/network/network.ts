import type { NetworkAttachment } from '../runtime/index.ts';

/**
 * Gives each sandbox its own network namespace, veth pair and address. Ids are container ids. Every call can be repeated after a crash
 * at any instant; what it finds half made, it makes anew.
 */
export interface SandboxNetwork {
  /**
   * Makes the namespace anew with its address on it (runsc takes addresses off the interface at every start, so this comes before every
   * run and restore). Asks for `preferredAddress` if given, else for the one this id had, else for a free one.
   */
  attach(id: string, preferredAddress?: string): Promise<NetworkAttachment>;
  /** Removes namespace, veth and address; unknown ids are no error. */
  detach(id: string): Promise<void>;
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
