/** IPv4 addresses of sandboxes: the first is the gateway that every host side shares. */
export interface AddressRange {
  /** First address as a number. */
  base: number;
  size: number;
}

/** Ranges that there are for engines. */
export const RANGE_COUNT = 1024;

/**
 * A /20 for an engine, out of 10.64.0.0/10, by its tag, or so many after that: an engine keeps its addresses over restarts, so that connections survive a
 * checkpoint.
 */
export function addressRangeOf(engineTag: string, offset = 0): AddressRange {
  const index = (Number.parseInt(engineTag, 16) + offset) % RANGE_COUNT;
  return { base: 0x0a400000 + (index << 12), size: 4096 };
}

/** The address on the host's end of every sandbox's link. */
export function gatewayOf(range: AddressRange): string {
  return dotted(range.base + 1);
}

/** `a.b.c.d/n` of a range. */
export function blockOf({ base, size }: AddressRange): string {
  return `${dotted(base)}/${32 - Math.log2(size)}`;
}

/** An IPv4 address as people write it. */
export function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

/** An IPv4 address as a number; undefined for anything else. */
export function numeric(address: string): number | undefined {
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(address)) return undefined;
  const parts = address.split('.').map(Number);
  return parts.some((part) => part > 255) ? undefined : parts.reduce((value, part) => value * 256 + part, 0);
}

/** An IPv4 block with its host bits cleared, `10.1.2.3/8` → `10.0.0.0/8`; undefined for IPv6 and for what is no block. */
export function canonicalBlock(cidr: string): string | undefined {
  const [address = '', prefix = '', ...more] = cidr.split('/');
  const value = numeric(address);
  const length = Number(prefix);
  if (value === undefined || more.length > 0 || !/^\d{1,2}$/.test(prefix) || length > 32) return undefined;
  return `${dotted(length === 0 ? 0 : (value >>> (32 - length)) * 2 ** (32 - length))}/${length}`;
}

/** Whether an address lies in a block of {@link canonicalBlock}'s form. */
export function blockContains(block: string, address: number): boolean {
  const [first = '', prefix = '0'] = block.split('/');
  const size = 2 ** (32 - Number(prefix));
  const base = numeric(first) ?? 0;
  return address >= base && address < base + size;
}
