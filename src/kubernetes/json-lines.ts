/** Parses newline-delimited JSON as it arrives. Bytes of a line that is not complete yet are kept, never scanned twice. */
export async function* parseJsonLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<unknown, void, undefined> {
  let pending: Buffer[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const line =
        pending.length === 0 ? chunk.toString('utf8', start, end) : joined(pending, chunk.subarray(start, end));
      pending = [];
      start = end + 1;
      if (line.trim() !== '') yield JSON.parse(line);
    }
    if (start < chunk.length) pending.push(chunk.subarray(start));
  }
  const rest = joined(pending);
  if (rest.trim() !== '') yield JSON.parse(rest);
}

const NEWLINE = 0x0a;

function joined(parts: Buffer[], last?: Buffer): string {
  return Buffer.concat(last === undefined ? parts : [...parts, last]).toString('utf8');
}
