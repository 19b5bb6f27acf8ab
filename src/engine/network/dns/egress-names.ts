import type { EgressName } from '../firewall/rules.ts';

/** Most names in one annotation: each is compared with every question. */
const MOST_NAMES = 256;
const NAME = /^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** A list of names that can't be read. The message names the entry. */
export class EgressNamesError extends Error {
  readonly code = 'egress_names_invalid';
}

/**
 * Names that a sandbox may call: `api.example.com, *.example.org:443`, separated by commas or white space. `*.` stands for every name below, not for the name
 * itself. @throws EgressNamesError
 */
export function parseEgressNames(text: string): EgressName[] {
  const entries = text.split(/[\s,]+/).filter((entry) => entry !== '');
  if (entries.length > MOST_NAMES)
    throw new EgressNamesError(`${entries.length} names are given, ${MOST_NAMES} is the most`);
  return entries.map((entry) => {
    const [written = '', portText, ...more] = entry.split(':');
    const name = written.toLowerCase().replace(/\.$/, '');
    const port = portText === undefined ? undefined : Number(portText);
    if (more.length > 0 || !NAME.test(name) || name.length > 253 || /^[\d.]+$/.test(name))
      throw new EgressNamesError(
        `"${entry}" is no DNS name: api.example.com, *.example.com or api.example.com:443 is wanted`,
      );
    if (port === undefined) return { name };
    if (!/^\d{1,5}$/.test(portText ?? '') || port < 1 || port > 65_535)
      throw new EgressNamesError(`"${entry}": the port must be a number from 1 to 65535`);
    return { name, port };
  });
}

/** Entries that a name which is asked for (in lower case, without the last dot) meets. */
export function matchingNames(allowed: readonly EgressName[], asked: string): EgressName[] {
  return allowed.filter(({ name }) => (name.startsWith('*.') ? asked.endsWith(name.slice(1)) : asked === name));
}
