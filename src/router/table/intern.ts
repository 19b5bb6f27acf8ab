/** Few distinct values, many records: one copy of each. Bounded, as messages may carry anything. */
const interned = new Map<string, string>();

/** One copy of a text that many records have. */
export function intern(text: string): string {
  const known = interned.get(text);
  if (known !== undefined) return known;
  // A copy: a slice of a parsed object would keep all of its text alive.
  const copy = Buffer.from(text).toString();
  if (interned.size < 10_000 && text.length < 200) interned.set(copy, copy);
  return copy;
}
