import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

/**
 * What is known of a log beside its bytes. Positions are counted from the container's first byte ever, also when older bytes are not kept any more.
 */
export interface LogIndex {
  /** First byte that is still kept. */
  keptFrom: number;
  /** Where each start of the container begins. */
  starts: number[];
  /** `atMs`: when the bytes from `from` on, up to the next entry's, were written last. Ascending. */
  times: { from: number; atMs: number }[];
  /** End of what `times` covers. */
  knownTo: number;
}

/** One line of an index file: what it tells, a position, and for times two: the range and when it was written. */
type Entry = `s ${number}` | `k ${number}` | `t ${number} ${number} ${number}`;

/** Most entries that an index may have; then times are made coarser. */
const ENTRY_LIMIT = 20_000;

/** Adds an entry. A line that a crash cut short is passed over when the index is read. */
export function addToIndex(path: string, entry: Entry): void {
  appendFileSync(path, `${entry}\n`, { mode: 0o600 });
}

/** Reads an index; an empty one where there is none. */
export function readIndex(path: string): LogIndex {
  const index: LogIndex = { keptFrom: 0, starts: [], times: [], knownTo: 0 };
  if (!existsSync(path)) return index;
  for (const line of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
    const [kind, ...numbers] = line.split(' ');
    const [first = Number.NaN, to = Number.NaN, atMs = Number.NaN] = numbers.map(Number);
    if (kind === 's' && Number.isSafeInteger(first)) index.starts.push(first);
    else if (kind === 'k' && Number.isSafeInteger(first)) index.keptFrom = first;
    else if (kind === 't' && numbers.length === 3 && numbers.every((number) => number !== '')) {
      index.times.push({ from: first, atMs });
      index.knownTo = to;
    }
  }
  return index;
}

/** Writes an index anew without what tells of bytes that are gone, and with half of its times if there are too many. */
export function compactIndex(path: string): void {
  const { keptFrom, starts, times, knownTo } = readIndex(path);
  let kept = times.filter((_, place) => (times[place + 1]?.from ?? knownTo) > keptFrom);
  if (kept.length > ENTRY_LIMIT / 2) kept = kept.filter((_, place) => place % 2 === 0);
  const entries: Entry[] = [
    `k ${keptFrom}`,
    // The last two starts tell where the present and the previous log begin.
    ...starts.slice(-2).map((start): Entry => `s ${start}`),
    ...kept.map(({ from, atMs }, place): Entry => `t ${from} ${kept[place + 1]?.from ?? knownTo} ${atMs}`),
  ];
  writeFileSync(`${path}.new`, `${entries.join('\n')}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Whether an index should be written anew. */
export function isLarge({ times }: LogIndex): boolean {
  return times.length > ENTRY_LIMIT;
}

/** When the byte at this position was written, as far as is known. */
export function timeAt({ times }: LogIndex, position: number): number | undefined {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle]?.from ?? 0) <= position) low = middle + 1;
    else high = middle;
  }
  return times[low - 1]?.atMs;
}
