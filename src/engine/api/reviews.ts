import { invalid } from './errors.ts';
import { apiVersion, type Caller, type ReviewKind } from './kinds/kind.ts';
import type { ApiObject } from './object.ts';
import { normalise } from './schema/normalise.ts';
import { compileSchema } from './schema/validate.ts';

/** Answers a posted review; undefined when the resource is no review. @throws ApiError Invalid */
export type ReviewHandler = (
  group: string,
  version: string,
  plural: string,
  body: unknown,
  caller: Caller,
) => ApiObject | undefined;

/** A handler of these review kinds. */
export function createReviewHandler(kinds: readonly ReviewKind[]): ReviewHandler {
  const known = new Map(
    kinds.map((kind) => [
      `${kind.group}/${kind.version}/${kind.plural}`,
      { kind, validate: compileSchema(kind.schema) },
    ]),
  );
  return (group, version, plural, body, caller) => {
    const found = known.get(`${group}/${version}/${plural}`);
    if (found === undefined) return undefined;
    const { kind, validate } = found;
    const review = normalise(kind.schema, body ?? {}, []) as ApiObject;
    const errors = validate(review);
    if (errors.length > 0) throw invalid(kind, '', errors);
    return kind.answer({ ...review, apiVersion: apiVersion(group, version), kind: kind.kind }, caller);
  };
}
