import { at, items } from '../../object.ts';
import type { FieldError } from '../../schema/validate.ts';
import { containersOf } from './containers.ts';

/** What reaches for the machine itself. A cluster may forbid it by policy (Pod Security Standards, baseline); the engine always does. */
export function hostAccessErrors(spec: unknown, path: string): FieldError[] {
  const hostNamespaces = { hostNetwork: 'network', hostPID: 'processes', hostIPC: 'IPC' };
  return [
    ...Object.entries(hostNamespaces)
      .filter(([field]) => at(spec, field) === true)
      .map(([field, what]) =>
        forbidden(`${path}.${field}`, `a sandbox never has the ${what} of the host: leave it out, or set it to false`),
      ),
    ...items(spec, 'volumes')
      .map((volume, index) => ({ volume, field: `${path}.volumes[${index}].hostPath` }))
      .filter(({ volume }) => at(volume, 'hostPath') !== undefined)
      .map(({ field }) =>
        forbidden(field, 'a sandbox never has files of the host: use a persistentVolumeClaim or an emptyDir'),
      ),
    ...containersOf(spec, path).flatMap(({ container, path: field }) => ofContainer(container, field)),
  ];
}

function ofContainer(container: unknown, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (at(container, 'securityContext', 'privileged') === true)
    errors.push(
      forbidden(
        `${path}.securityContext.privileged`,
        'a sandbox never has the rights of the host: add the capabilities that are needed instead',
      ),
    );
  if (items(container, 'volumeDevices').length > 0)
    errors.push(forbidden(`${path}.volumeDevices`, 'a sandbox has no block devices: mount the volume as files'));
  for (const [index, port] of items(container, 'ports').entries())
    if (Number(at(port, 'hostPort') ?? 0) !== 0)
      errors.push(
        forbidden(
          `${path}.ports[${index}].hostPort`,
          'a sandbox has no port of the host: call it through the router, or use port-forward',
        ),
      );
  return errors;
}

function forbidden(field: string, why: string): FieldError {
  return { field, reason: 'FieldValueForbidden', message: `Forbidden: ${why}` };
}
