import { items, text } from '../../object.ts';
import type { FieldError } from '../../schema/validate.ts';

/** Names used twice, mounts of volumes that are not there. `claims` are volumes, too. */
export function podNameErrors(spec: unknown, path: string, claims: readonly string[]): FieldError[] {
  const containers = ['initContainers', 'containers'].flatMap((list) =>
    items(spec, list).map((container, index) => ({ container, path: `${path}.${list}[${index}]` })),
  );
  const volumes = items(spec, 'volumes');
  const volumeNames = new Set([...volumes.map((volume) => text(volume, 'name')), ...claims]);
  return [
    ...duplicates(containers.map(({ container, path: at }) => [text(container, 'name'), `${at}.name`])),
    ...duplicates(volumes.map((volume, index) => [text(volume, 'name'), `${path}.volumes[${index}].name`])),
    ...containers.flatMap(({ container, path: at }) => containerErrors(container, at, volumeNames)),
  ];
}

function containerErrors(container: unknown, path: string, volumeNames: Set<string>): FieldError[] {
  const mounts = items(container, 'volumeMounts');
  const ports = items(container, 'ports');
  return [
    ...mounts.flatMap((mount, index) => {
      const name = text(mount, 'name');
      return volumeNames.has(name) ? [] : [notFound(`${path}.volumeMounts[${index}].name`, name)];
    }),
    ...duplicates(
      mounts.map((mount, index) => [text(mount, 'mountPath'), `${path}.volumeMounts[${index}].mountPath`]),
      'FieldValueInvalid',
    ),
    ...duplicates(ports.map((port, index) => [text(port, 'name'), `${path}.ports[${index}].name`])),
  ];
}

function notFound(field: string, name: string): FieldError {
  return { field, reason: 'FieldValueNotFound', message: `Not found: ${JSON.stringify(name)}` };
}

function duplicates(
  named: [name: string, field: string][],
  reason: 'FieldValueDuplicate' | 'FieldValueInvalid' = 'FieldValueDuplicate',
): FieldError[] {
  const seen = new Set<string>();
  return named.flatMap(([name, field]) => {
    if (name === '' || !seen.has(name)) {
      seen.add(name);
      return [];
    }
    const value = JSON.stringify(name);
    return [
      reason === 'FieldValueDuplicate'
        ? { field, reason, message: `Duplicate value: ${value}` }
        : { field, reason, message: `Invalid value: ${value}: must be unique` },
    ];
  });
}
