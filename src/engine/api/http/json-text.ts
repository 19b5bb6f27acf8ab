const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST, COMMA] = [0x7b, 0x7d, 0x5b, 0x5d, 0x2c];

/** Objects and lists within each other: far more than any manifest has, and few enough for all that walk through one. */
export const MOST_LEVELS = 200;

/** What JSON.parse does not tell: how deep a text nests, and which fields are there twice (of which it takes the last). */
export interface JsonTextFacts {
  levels: number;
  /** Paths of the fields that are given more than once: `data.colour`, `spec.containers[0].name`. */
  duplicates: string[];
}

interface Level {
  /** Absent for a list. */
  keys?: Set<string>;
  awaitsKey: boolean;
  /** The key, or the index, at which the text is. */
  at: string | number;
}

/** Goes once through a text that is, or tries to be, JSON; stops at {@link MOST_LEVELS}. */
export function inspectJson(text: string): JsonTextFacts {
  const stack: Level[] = [];
  const duplicates: string[] = [];
  let levels = 0;
  for (let index = 0; index < text.length; index++) {
    const top = stack.at(-1);
    switch (text.charCodeAt(index)) {
      case QUOTE: {
        const end = endOfString(text, index);
        if (top?.keys !== undefined && top.awaitsKey) {
          top.at = unquoted(text.slice(index, end + 1));
          top.awaitsKey = false;
          if (top.keys.has(top.at)) duplicates.push(pathOf(stack));
          top.keys.add(top.at);
        }
        index = end;
        break;
      }
      case OPEN_OBJECT:
        stack.push({ keys: new Set(), awaitsKey: true, at: '' });
        break;
      case OPEN_LIST:
        stack.push({ awaitsKey: false, at: 0 });
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        stack.pop();
        break;
      case COMMA:
        if (top?.keys !== undefined) top.awaitsKey = true;
        else if (top !== undefined) top.at = Number(top.at) + 1;
    }
    levels = Math.max(levels, stack.length);
    if (levels > MOST_LEVELS) break;
  }
  return { levels, duplicates };
}

/** Index of the quote that ends the string which begins at an index. */
function endOfString(text: string, start: number): number {
  for (let index = start + 1; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === BACKSLASH) index++;
    else if (code === QUOTE) return index;
  }
  return text.length;
}

function unquoted(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return String(JSON.parse(quoted));
  } catch {
    // Whoever parses the text says what is wrong with it.
    return quoted;
  }
}

function pathOf(stack: readonly Level[]): string {
  return stack
    .map(({ keys, at }, index) => (keys === undefined ? `[${at}]` : `${index === 0 ? '' : '.'}${at}`))
    .join('');
}

/** How deep a parsed value nests, up to one more than {@link MOST_LEVELS}. */
export function levelsOf(value: unknown): number {
  let layer = [value];
  for (let levels = 0; ; levels++) {
    layer = layer.filter((part) => typeof part === 'object' && part !== null);
    if (layer.length === 0 || levels > MOST_LEVELS) return levels;
    layer = layer.flatMap((part) => Object.values(part as object));
  }
}
