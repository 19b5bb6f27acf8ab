import { at, items, text } from '../../object.ts';
import type { FieldError } from '../../schema/validate.ts';
import { containersOf } from './containers.ts';

const INSIDE = 'must be an absolute path inside the container, without "..", ":" and control characters';
const BELOW = 'must be a relative path without "..", ":" and control characters';

/** Paths that lead out of where they belong: mounts, parts of volumes, files of ConfigMaps and Secrets, working directories. */
export function pathErrors(spec: unknown, path: string): FieldError[] {
  return [
    ...containersOf(spec, path).flatMap(({ container, path: field }) => ofContainer(container, field)),
    ...items(spec, 'volumes').flatMap((volume, index) => ofVolume(volume, `${path}.volumes[${index}]`)),
  ];
}

function ofContainer(container: unknown, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const workingDirectory = text(container, 'workingDir');
  if (workingDirectory !== '' && !staysInside(workingDirectory))
    errors.push(wrong(`${path}.workingDir`, workingDirectory, INSIDE));
  for (const [index, mount] of items(container, 'volumeMounts').entries()) {
    const field = `${path}.volumeMounts[${index}]`;
    const mountPath = text(mount, 'mountPath');
    if (!staysInside(mountPath) || !/[^/]/.test(mountPath)) errors.push(wrong(`${field}.mountPath`, mountPath, INSIDE));
    for (const name of ['subPath', 'subPathExpr']) {
      const subPath = text(mount, name);
      if (subPath !== '' && !staysBelow(subPath)) errors.push(wrong(`${field}.${name}`, subPath, BELOW));
    }
  }
  return errors;
}

function ofVolume(volume: unknown, path: string): FieldError[] {
  const sources = [
    { source: volume, path },
    ...items(volume, 'projected', 'sources').map((source, index) => ({
      source,
      path: `${path}.projected.sources[${index}]`,
    })),
  ];
  return sources.flatMap(({ source, path: field }) =>
    ['configMap', 'secret', 'downwardAPI'].flatMap((kind) =>
      items(source, kind, 'items').flatMap((item, index) => {
        const file = String(at(item, 'path') ?? '');
        return staysBelow(file) ? [] : [wrong(`${field}.${kind}.items[${index}].path`, file, BELOW)];
      }),
    ),
  );
}

function staysInside(path: string): boolean {
  return path.startsWith('/') && isHarmless(path);
}

function staysBelow(path: string): boolean {
  return path !== '' && !path.startsWith('/') && isHarmless(path);
}

function isHarmless(path: string): boolean {
  return path.length <= 4096 && !/[:\p{Cc}]/u.test(path) && !path.split('/').includes('..');
}

function wrong(field: string, value: string, why: string): FieldError {
  return {
    field,
    reason: 'FieldValueInvalid',
    message: `Invalid value: ${JSON.stringify(value.slice(0, 200))}: ${why}`,
  };
}
