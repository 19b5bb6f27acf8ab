/** A block of IP addresses: `prefix` leading bits of `base` are fixed. */
export interface CidrBlock {
  family: 4 | 6;
  base: bigint;
  prefix: number;
}

/** Parses `10.0.0.0/8`, `fe80::/10` or a bare address; undefined for anything else. */
export function parseCidr(text: string): CidrBlock | undefined {
  const [address = '', prefixText, ...rest] = text.split('/');
  const family = address.includes(':') ? 6 : 4;
  const bits = family === 4 ? 32 : 128;
  const prefix = prefixText === undefined ? bits : /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : -1;
  const value = family === 4 ? parseIpv4(address) : parseIpv6(address);
  if (value === undefined || rest.length > 0 || prefix < 0 || prefix > bits) return undefined;
  const hostBits = BigInt(bits - prefix);
  return { family, base: (value >> hostBits) << hostBits, prefix };
}

/** Whether every address of `inner` lies in `outer`. */
export function containsBlock(outer: CidrBlock, inner: CidrBlock): boolean {
  if (outer.family !== inner.family || outer.prefix > inner.prefix) return false;
  const shift = BigInt((outer.family === 4 ? 32 : 128) - outer.prefix);
  return outer.base >> shift === inner.base >> shift;
}

/** The common part of two blocks: the smaller one, or undefined where they are disjoint. */
export function intersectBlocks(left: CidrBlock, right: CidrBlock): CidrBlock | undefined {
  if (containsBlock(left, right)) return right;
  if (containsBlock(right, left)) return left;
  return undefined;
}

function parseIpv4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255))
    return undefined;
  return parts.reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function parseIpv6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groups = (half: string | undefined): string[] => (half === undefined || half === '' ? [] : half.split(':'));
  const head = groups(halves[0]);
  const tail = groups(halves[1]);
  const last = (tail.at(-1) ?? head.at(-1)) as string | undefined;
  const embedded = last?.includes('.') === true ? parseIpv4(last) : undefined;
  if (embedded !== undefined) {
    const target = tail.length > 0 ? tail : head;
    target.splice(-1, 1, (embedded >> 16n).toString(16), (embedded & 0xffffn).toString(16));
  }
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...Array<string>(Math.max(0, missing)).fill('0'), ...tail];
  if (!all.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  return all.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}
