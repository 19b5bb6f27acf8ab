import { badRequest } from '../errors.ts';
import { labelValueProblem, qualifiedNameProblem } from '../names.ts';

/** Says whether an object's labels are selected. */
export type LabelMatcher = (labels: Record<string, string> | undefined) => boolean;

interface Requirement {
  key: string;
  operator: '=' | '!=' | 'in' | 'notin' | 'exists' | '!';
  values: string[];
}

/**
 * Parses a label selector: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, joined by commas.
 * @throws ApiError BadRequest that says what was found where something else belongs
 */
export function parseLabelSelector(selector: string | undefined): LabelMatcher {
  if (selector === undefined || selector.trim() === '') return () => true;
  const requirements = parse(selector);
  return (labels) => requirements.every((requirement) => holds(requirement, labels));
}

function holds({ key, operator, values }: Requirement, labels: Record<string, string> | undefined): boolean {
  const value = labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case '=':
    case 'in':
      return value !== undefined && values.includes(value);
    case '!=':
    case 'notin':
      return value === undefined || !values.includes(value);
    case 'exists':
      return value !== undefined;
    case '!':
      return value === undefined;
    default:
      return operator satisfies never;
  }
}

const TOKEN = /\s*(==|!=|[=!(),]|[^\s=!(),]+)/y;

function parse(selector: string): Requirement[] {
  const tokens = [...tokensOf(selector)];
  let position = 0;
  const next = () => tokens[position++] ?? '';
  const fail = (found: string, expected: string) =>
    badRequest(`labelSelector: unable to parse requirement: found '${found}', expected: ${expected}`);

  function requirement(): Requirement {
    let first = next();
    const negated = first === '!';
    if (negated) first = next();
    const key = checkKey(first, fail);
    const following = tokens[position];
    if (negated || following === undefined || following === ',')
      return { key, operator: negated ? '!' : 'exists', values: [] };
    const operator = next();
    if (operator === '=' || operator === '==' || operator === '!=') {
      const value = tokens[position] === undefined || tokens[position] === ',' ? '' : next();
      return { key, operator: operator === '!=' ? '!=' : '=', values: [checkValue(key, value)] };
    }
    if (operator === 'in' || operator === 'notin') return { key, operator, values: valueSet(key) };
    throw fail(operator, 'in, notin, =, ==, !=, gt, lt');
  }

  function valueSet(key: string): string[] {
    const opening = next();
    if (opening !== '(') throw fail(opening, "'('");
    const values: string[] = [];
    for (;;) {
      const token = next();
      if (token === ')' || token === ',') values.push('');
      else if (token === '') throw fail('', "',', ')' or identifier");
      else values.push(checkValue(key, token));
      const end = token === ')' ? token : token === ',' ? ',' : next();
      if (end === ')') return values;
      if (end !== ',') throw fail(end, "',' or ')'");
    }
  }

  const found: Requirement[] = [];
  for (;;) {
    if (/^[=()]|^,$/.test(tokens[position] ?? ''))
      throw badRequest(`found '${tokens[position]}', expected: !, identifier, or 'end of string'`);
    found.push(requirement());
    const separator = next();
    if (separator === '') return found;
    if (separator !== ',') throw badRequest(`found '${separator}', expected: ',' or 'end of string'`);
  }
}

function* tokensOf(selector: string): Generator<string> {
  const trimmed = selector.trimEnd();
  const pattern = new RegExp(TOKEN);
  for (let match = pattern.exec(trimmed); match !== null; match = pattern.exec(trimmed)) yield match[1] as string;
}

function checkKey(key: string, fail: (found: string, expected: string) => Error): string {
  if (key === '' || /^[=!(),]/.test(key)) throw fail(key, 'identifier');
  const problem = qualifiedNameProblem(key);
  if (problem !== undefined)
    throw badRequest(
      `labelSelector: unable to parse requirement: <nil>: Invalid value: ${JSON.stringify(key)}: ${problem}`,
    );
  return key;
}

function checkValue(key: string, value: string): string {
  const problem = labelValueProblem(value);
  if (problem !== undefined)
    throw badRequest(
      `unable to parse requirement: values[0][${key}]: Invalid value: ${JSON.stringify(value)}: ${problem}`,
    );
  return value;
}
