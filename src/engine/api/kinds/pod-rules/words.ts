import { isIP } from 'node:net';
import { LABEL, LABEL_WORDS, nameErrors } from '../../names.ts';
import { items, text } from '../../object.ts';
import type { FieldError } from '../../schema/validate.ts';
import { containersOf } from './containers.ts';
import { isImageReference } from './image-reference.ts';

const DNS_WORDS = "must be a DNS name: letters, digits, '-', '_' and '.'";
/** Kernels end a text at a NUL: what comes after it would go unseen, or become another variable. */
const NO_NUL = 'must not contain NUL characters';

/** Words that become part of commands, variables, files and requests elsewhere, and must be what they seem. */
export function wordErrors(spec: unknown, path: string): FieldError[] {
  return [
    ...containersOf(spec, path).flatMap(({ container, path: field }) => ofContainer(container, field)),
    ...ofNames(spec, path),
    ...items(spec, 'volumes').flatMap((volume, index) => {
      const field = `${path}.volumes[${index}]`;
      return [
        ...referenceErrors(
          text(volume, 'persistentVolumeClaim', 'claimName'),
          `${field}.persistentVolumeClaim.claimName`,
        ),
        ...referenceErrors(text(volume, 'configMap', 'name'), `${field}.configMap.name`),
        ...referenceErrors(text(volume, 'secret', 'secretName'), `${field}.secret.secretName`),
      ];
    }),
  ];
}

function ofContainer(container: unknown, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const image = text(container, 'image');
  if (!isImageReference(image))
    errors.push(
      wrong(
        `${path}.image`,
        image,
        'must be an image reference, such as "registry.example.com/team/app:1.0" or "app@sha256:<64 hex digits>"',
      ),
    );
  for (const field of ['command', 'args'])
    for (const [index, word] of items(container, field).entries())
      if (String(word).includes('\0')) errors.push(wrong(`${path}.${field}[${index}]`, String(word), NO_NUL));
  for (const [index, variable] of items(container, 'env').entries()) {
    const name = text(variable, 'name');
    const value = text(variable, 'value');
    if (!/^[\x20-\x3c\x3e-\x7e]+$/.test(name))
      errors.push(wrong(`${path}.env[${index}].name`, name, "must be printable ASCII characters other than '='"));
    if (value.includes('\0')) errors.push(wrong(`${path}.env[${index}].value`, value, NO_NUL));
  }
  return errors;
}

function ofNames(spec: unknown, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ['hostname', 'subdomain']) {
    const name = text(spec, field);
    if (name !== '' && !LABEL.test(name)) errors.push(wrong(`${path}.${field}`, name, LABEL_WORDS));
  }
  for (const [index, server] of items(spec, 'dnsConfig', 'nameservers').entries())
    if (isIP(String(server)) === 0)
      errors.push(wrong(`${path}.dnsConfig.nameservers[${index}]`, String(server), 'must be a valid IP address'));
  for (const [index, domain] of items(spec, 'dnsConfig', 'searches').entries())
    if (!isDnsName(domain)) errors.push(wrong(`${path}.dnsConfig.searches[${index}]`, String(domain), DNS_WORDS));
  for (const [index, alias] of items(spec, 'hostAliases').entries()) {
    const field = `${path}.hostAliases[${index}]`;
    const address = text(alias, 'ip');
    if (isIP(address) === 0) errors.push(wrong(`${field}.ip`, address, 'must be a valid IP address'));
    for (const [position, name] of items(alias, 'hostnames').entries())
      if (!isDnsName(name)) errors.push(wrong(`${field}.hostnames[${position}]`, String(name), DNS_WORDS));
  }
  return errors;
}

function isDnsName(value: unknown): boolean {
  return /^[A-Za-z0-9_.-]{1,253}$/.test(String(value));
}

function referenceErrors(name: string, field: string): FieldError[] {
  return name === '' ? [] : nameErrors(name, 'subdomain', field);
}

function wrong(field: string, value: string, why: string): FieldError {
  return {
    field,
    reason: 'FieldValueInvalid',
    message: `Invalid value: ${JSON.stringify(value.slice(0, 200))}: ${why}`,
  };
}
