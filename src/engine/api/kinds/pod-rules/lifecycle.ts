import { at, items, text } from '../../object.ts';
import type { FieldError } from '../../schema/validate.ts';
import { containersOf } from './containers.ts';

const HANDLERS = ['exec', 'httpGet', 'tcpSocket', 'sleep'];
const HANDLERS_WORDS = 'must specify a handler type';

/** Hooks that nobody could run, in Kubernetes' words (pkg/apis/core/validation, validateLifecycle). */
export function lifecycleErrors(spec: unknown, path: string): FieldError[] {
  const graceSeconds = Number(at(spec, 'terminationGracePeriodSeconds') ?? 30);
  return containersOf(spec, path).flatMap(({ container, path: field }) => {
    if (at(container, 'lifecycle') === undefined) return [];
    if (field.includes('.initContainers[') && text(container, 'restartPolicy') !== 'Always')
      return [forbidden(`${field}.lifecycle`, 'may not be set for init containers without restartPolicy=Always')];
    return ['postStart', 'preStop'].flatMap((hook) => {
      const handler = at(container, 'lifecycle', hook);
      return handler === undefined ? [] : handlerErrors(handler, `${field}.lifecycle.${hook}`, graceSeconds);
    });
  });
}

function handlerErrors(handler: unknown, path: string, graceSeconds: number): FieldError[] {
  const [first, ...others] = HANDLERS.filter((name) => at(handler, name) !== undefined);
  if (first === undefined)
    return [{ field: path, reason: 'FieldValueRequired', message: `Required value: ${HANDLERS_WORDS}` }];
  const errors = others.map((name) => forbidden(`${path}.${name}`, 'may not specify more than 1 handler type'));
  if (first === 'exec' && items(handler, 'exec', 'command').length === 0)
    errors.push({ field: `${path}.exec.command`, reason: 'FieldValueRequired', message: 'Required value' });
  const seconds = at(handler, 'sleep', 'seconds');
  if (typeof seconds === 'number' && (seconds < 0 || seconds > graceSeconds))
    errors.push({
      field: `${path}.sleep.seconds`,
      reason: 'FieldValueInvalid',
      message: `Invalid value: ${seconds}: must be non-negative and less than terminationGracePeriodSeconds (${graceSeconds})`,
    });
  return errors;
}

function forbidden(field: string, why: string): FieldError {
  return { field, reason: 'FieldValueForbidden', message: `Forbidden: ${why}` };
}
