import { nearest } from './values.ts';

/** Reads one value of a mapping; `where` names it in errors. */
export type Reader<Value> = (raw: unknown, where: string) => Value;

/** Reads a mapping whose keys are all known; a key that is absent stays absent. @throws Error that names the key and what is wanted */
export function readMapping<Fields extends Record<string, Reader<unknown>>>(
  raw: unknown,
  where: string,
  fields: Fields,
): { [Name in keyof Fields]?: ReturnType<Fields[Name]> } {
  const names = Object.keys(fields);
  const given = entriesOf(raw, where);
  const read: Record<string, unknown> = {};
  for (const [name, value] of given) {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (field === undefined)
      throw new Error(`${where}: unknown key "${name}". Did you mean "${nearest(name, names)}"?`);
    read[name] = field(value, `${where}.${name}`);
  }
  return read as { [Name in keyof Fields]?: ReturnType<Fields[Name]> };
}

/** The entries of a mapping whose keys are names of the operator's own. */
export function entriesOf(raw: unknown, where: string): [string, unknown][] {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new Error(`${where} must be a mapping`);
  return Object.entries(raw);
}

/** A text that is not empty. */
export const aText: Reader<string> = (raw, where) => {
  if (typeof raw !== 'string' || raw === '') throw new Error(`${where} must be a text that is not empty`);
  return raw;
};

/** A name as Kubernetes has them. */
export const aLabel: Reader<string> = (raw, where) => {
  if (typeof raw !== 'string' || !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(raw))
    throw new Error(`${where} must be a name of lower-case letters, digits and hyphens, not ${JSON.stringify(raw)}`);
  return raw;
};

/** A list, each item read by another reader. */
export function listOf<Value>(item: Reader<Value>): Reader<Value[]> {
  return (raw, where) => {
    if (!Array.isArray(raw)) throw new Error(`${where} must be a list`);
    return raw.map((value, index) => item(value, `${where}[${index}]`));
  };
}

/** One of some texts. */
export function choiceOf<const Value extends string>(...choices: Value[]): Reader<Value> {
  return (raw, where) => {
    const choice = choices.find((candidate) => candidate === raw);
    if (choice === undefined)
      throw new Error(`${where} must be one of ${choices.join(', ')}, not ${JSON.stringify(raw)}`);
    return choice;
  };
}

/** True or false. */
export const aSwitch: Reader<boolean> = (raw, where) => {
  if (typeof raw !== 'boolean') throw new Error(`${where} must be true or false, not ${JSON.stringify(raw)}`);
  return raw;
};

/** A number above 0. */
export const aRate: Reader<number> = (raw, where) => {
  if (typeof raw !== 'number' || !Number.isFinite(raw) || raw <= 0)
    throw new Error(`${where} must be a number above 0, not ${JSON.stringify(raw)}`);
  return raw;
};

/** A whole number, 1 or more. */
export const aCount: Reader<number> = (raw, where) => {
  if (!Number.isSafeInteger(raw) || (raw as number) < 1)
    throw new Error(`${where} must be a whole number, 1 or more, not ${JSON.stringify(raw)}`);
  return raw as number;
};
