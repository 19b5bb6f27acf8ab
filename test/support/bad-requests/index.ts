/** Requests that the engine's API must refuse, each with a precise answer and without any change. */
import { bodies } from './bodies.ts';
import { callers } from './callers.ts';
import { hostile } from './hostile-pods.ts';
import { names } from './names.ts';
import { patches } from './patches.ts';
import { queries } from './queries.ts';
import type { BadRequest } from './request.ts';
import { wrongTypes } from './wrong-types.ts';

export { type BadRequest, OBJECTS } from './request.ts';

/** All of them. */
export const BAD_REQUESTS: readonly BadRequest[] = [
  ...wrongTypes,
  ...names,
  ...hostile,
  ...bodies,
  ...patches,
  ...queries,
  ...callers,
];
