import type { FieldError } from './schema/validate.ts';

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** A DNS label (RFC 1123). */
export const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const NAME_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

const SUBDOMAIN_WORDS =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an " +
  "alphanumeric character (e.g. 'example.com', regex used for validation is " +
  "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
/** What a DNS label looks like, in Kubernetes' words. */
export const LABEL_WORDS =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric " +
  "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART_WORDS =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. " +
  "'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_WORDS =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an " +
  "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is " +
  "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/** What is wrong with an object's name under that rule; empty when it may be used. */
export function nameErrors(name: string, rule: 'subdomain' | 'label', field = 'metadata.name'): FieldError[] {
  const [pattern, words, longest] = rule === 'label' ? [LABEL, LABEL_WORDS, 63] : [SUBDOMAIN, SUBDOMAIN_WORDS, 253];
  if (rule === 'label' && name.includes('.')) return [wrong(field, name, 'must not contain dots')];
  const errors: FieldError[] = [];
  if (!pattern.test(name)) errors.push(wrong(field, name, words));
  if (name.length > longest) errors.push(wrong(field, name, `must be no more than ${longest} characters`));
  return errors;
}

/** What is wrong with a qualified name: the key of a label, annotation or finalizer. */
export function qualifiedNameProblem(key: string): string | undefined {
  const [first = '', second, ...more] = key.split('/');
  if (more.length > 0)
    return `a qualified name must consist of alphanumeric characters, '-', '_' or '.', with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`;
  if (second !== undefined && (!SUBDOMAIN.test(first) || first.length > 253)) return `prefix part ${SUBDOMAIN_WORDS}`;
  const name = second ?? first;
  if (name === '') return 'name part must be non-empty';
  if (name.length > 63) return 'name part must be no more than 63 characters';
  return NAME_PART.test(name) ? undefined : NAME_PART_WORDS;
}

/** What is wrong with the value of a label. */
export function labelValueProblem(value: string): string | undefined {
  if (value.length > 63) return 'must be no more than 63 characters';
  return value === '' || NAME_PART.test(value) ? undefined : VALUE_WORDS;
}

/** What is wrong with a set of labels. */
export function labelErrors(labels: Record<string, string> | undefined, field: string): FieldError[] {
  return Object.entries(labels ?? {}).flatMap(([key, value]) => {
    const keyProblem = qualifiedNameProblem(key);
    const valueProblem = typeof value === 'string' ? labelValueProblem(value) : undefined;
    return [
      ...(keyProblem === undefined ? [] : [wrong(field, key, keyProblem)]),
      ...(valueProblem === undefined ? [] : [wrong(field, value, valueProblem)]),
    ];
  });
}

/** What is wrong with a set of annotations: keys as for labels but of any case, 256 KiB in all. */
export function annotationErrors(annotations: Record<string, string> | undefined, field: string): FieldError[] {
  const entries = Object.entries(annotations ?? {});
  const sizeBytes = entries.reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(String(value)),
    0,
  );
  const errors = entries.flatMap(([key]) => {
    const problem = qualifiedNameProblem(key.toLowerCase());
    return problem === undefined ? [] : [wrong(field, key, problem)];
  });
  if (sizeBytes > 262_144)
    errors.push({ field, reason: 'FieldValueTooLong', message: 'Too long: may not be more than 262144 bytes' });
  return errors;
}

function wrong(field: string, value: string, why: string): FieldError {
  return { field, reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${why}` };
}
