import { badRequest } from '../errors.ts';
import type { Kind } from '../kinds/kind.ts';
import type { ApiObject } from '../object.ts';

/** Says whether an object is selected by its fields; `name` is there when the selector pins the name. */
export interface FieldMatcher {
  matches: (object: ApiObject) => boolean;
  name?: string;
}

const COMMON: Record<string, (object: ApiObject) => string> = {
  'metadata.name': (object) => object.metadata.name,
  'metadata.namespace': (object) => object.metadata.namespace ?? '',
};

/**
 * Parses a field selector: `path=value`, `path==value`, `path!=value`, joined by commas; `\,`, `\=` and `\\` escape.
 * @throws ApiError BadRequest for a field that the kind can't be selected by
 */
export function parseFieldSelector(kind: Kind, selector: string | undefined): FieldMatcher {
  if (selector === undefined || selector === '') return { matches: () => true };
  let name: string | undefined;
  const terms = split(selector, ',')
    .filter((term) => term !== '')
    .map((term) => {
      const parts = /^((?:[^=!\\]|\\.)+?)(==|!=|=)(.*)$/s.exec(term);
      if (parts === null) throw badRequest(`invalid selector: '${selector}'; can't understand '${term}'`);
      const [, path = '', operator, raw = ''] = parts;
      const value = unescapeValue(raw, selector);
      const read =
        kind.selectableFields?.[path] ?? (kind.namespaced || path === 'metadata.name' ? COMMON[path] : undefined);
      if (read === undefined) {
        throw badRequest(`field label not supported: ${path}`);
      }
      const negated = operator === '!=';
      if (path === 'metadata.name' && !negated) name = value;
      return (object: ApiObject) => (read(object) === value) !== negated;
    });
  return { matches: (object) => terms.every((term) => term(object)), ...(name === undefined ? {} : { name }) };
}

function split(text: string, separator: string): string[] {
  const parts = [''];
  for (let index = 0; index < text.length; index++) {
    const character = text[index] as string;
    if (character === '\\' && index + 1 < text.length) parts[parts.length - 1] += character + text[++index];
    else if (character === separator) parts.push('');
    else parts[parts.length - 1] += character;
  }
  return parts;
}

function unescapeValue(value: string, selector: string): string {
  if (/(^|[^\\])(\\\\)*=/.test(value))
    throw badRequest(`invalid field selector: ${selector}: unescaped character in value: =`);
  return value.replace(/\\([\\,=])/g, '$1');
}
