import { isDeepStrictEqual } from 'node:util';
import { at, items, text } from '../../object.ts';
import type { FieldError } from '../../schema/validate.ts';
import { hostAccessErrors } from './host-access.ts';
import { lifecycleErrors } from './lifecycle.ts';
import { podNameErrors } from './names.ts';
import { pathErrors } from './paths.ts';
import { wordErrors } from './words.ts';

/**
 * Rules for a Pod blueprint inside another object: its spec at `<path>.spec`. What the object claims as storage are volumes of the Pod. One that stays as it was
 * is not looked at again: what was stored once can be worked with.
 */
export function podTemplateErrors(object: unknown, previous: unknown, path: string[]): FieldError[] {
  const spec = at(object, ...path, 'spec');
  if (spec === undefined || isDeepStrictEqual(spec, at(previous, ...path, 'spec'))) return [];
  const claims = items(object, 'spec', 'volumeClaimTemplates').map((claim) => text(claim, 'metadata', 'name'));
  return podSpecErrors(spec, undefined, [...path, 'spec'].join('.'), claims);
}

/** What is wrong with a Pod's spec that was not there before. */
export function podSpecErrors(
  spec: unknown,
  previous: unknown,
  path: string,
  claims: readonly string[] = [],
): FieldError[] {
  if (isDeepStrictEqual(spec, previous)) return [];
  return [
    ...podNameErrors(spec, path, claims),
    ...hostAccessErrors(spec, path),
    ...pathErrors(spec, path),
    ...wordErrors(spec, path),
    ...lifecycleErrors(spec, path),
  ];
}
