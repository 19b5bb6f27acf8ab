/** A list as an answer: its own fields, and what is in it. */
export interface ListAnswer {
  /** Name of the field that has the parts. */
  field: 'items' | 'rows';
  parts: readonly unknown[];
  /** The other fields. */
  head: Record<string, unknown>;
}

/** Text of about this many characters at once: one piece of all of it is megabytes, which live as long as the slowest reader. */
const CHUNK_CHARACTERS = 65_536;

/** The JSON of a list, bit by bit, each bit made when it can be sent. */
export function* listText({ field, parts, head }: ListAnswer): Generator<Buffer> {
  let text = `${JSON.stringify(head).slice(0, -1)},${JSON.stringify(field)}:[`;
  for (const [index, part] of parts.entries()) {
    text += (index === 0 ? '' : ',') + JSON.stringify(part);
    if (text.length < CHUNK_CHARACTERS) continue;
    yield Buffer.from(text);
    text = '';
  }
  yield Buffer.from(`${text}]}`);
}
