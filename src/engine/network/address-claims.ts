import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AddressRange, addressRangeOf, dotted, RANGE_COUNT } from './addresses.ts';

/** Where engines of a machine say which ranges are theirs; empty after a boot, as the links are that have the addresses. */
const CLAIMS_DIRECTORY = '/run/sandbox-router/address-ranges';

/**
 * The range of addresses of an engine: the one of its tag, or the next that no other engine of this machine has. Two engines with one range would send each
 * other's sandboxes what is for their own. An engine gets the range again that it had. @throws Error when all are taken
 */
export function claimAddressRange(
  engineTag: string,
  engineDirectory: string,
  claimsDirectory = CLAIMS_DIRECTORY,
): AddressRange {
  mkdirSync(claimsDirectory, { recursive: true, mode: 0o700 });
  const ranges = Array.from({ length: RANGE_COUNT }, (_, offset) => addressRangeOf(engineTag, offset));
  const pathOf = (range: AddressRange) => join(claimsDirectory, dotted(range.base));
  const ownerOf = (path: string) => readFileSync(path, 'utf8');
  const claimed = new Set(readdirSync(claimsDirectory).map((name) => join(claimsDirectory, name)));
  const mine = ranges.find((range) => claimed.has(pathOf(range)) && ownerOf(pathOf(range)) === engineDirectory);
  const free = mine ?? ranges.find((range) => !claimed.has(pathOf(range)) && claim(pathOf(range), engineDirectory));
  if (free !== undefined) return free;
  const abandoned = ranges.find((range) => !existsSync(ownerOf(pathOf(range))));
  if (abandoned === undefined)
    throw new Error(
      `all ${RANGE_COUNT} address ranges are taken: remove those of engines that are gone in ${claimsDirectory}`,
    );
  writeFileSync(pathOf(abandoned), engineDirectory);
  return abandoned;
}

/** False if another engine was faster. */
function claim(path: string, engineDirectory: string): boolean {
  try {
    writeFileSync(path, engineDirectory, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
