import { invalid } from './errors.ts';
import { apiVersion, type Caller, type ReviewKind } from './kinds/kind.ts';
import type { ApiObject } from './object.ts';
import { normalise } from './schema/normalise.ts';
import { compileSchema } from './schema/validate.ts';

/** Answers a posted review. @throws ApiError Invalid */
export type AnswerReview = (body: unknown, caller: Caller) => ApiObject;

/** Finds what answers reviews of a resource; undefined when the resource is no review. */
export type ReviewHandler = (group: string, version: string, plural: string) => AnswerReview | undefined;

/** A handler of these review kinds. */
export function createReviewHandler(kinds: readonly ReviewKind[]): ReviewHandler {
  const known = new Map(
    kinds.map((kind) => [
      `${kind.group}/${kind.version}/${kind.plural}`,
      { kind, validate: compileSchema(kind.schema) },
    ]),
  );
  return (group, version, plural) => {
    const found = known.get(`${group}/${version}/${plural}`);
    if (found === undefined) return undefined;
    const { kind, validate } = found;
    return (body, caller) => {
      const review = normalise(kind.schema, body ?? {}, []) as ApiObject;
      const errors = validate(review);
      if (errors.length > 0) throw invalid(kind, '', errors);
      const { apiVersion: _, kind: __, metadata = {}, ...rest } = review;
      return kind.answer(
        { apiVersion: apiVersion(group, version), kind: kind.kind, metadata, ...rest } as ApiObject,
        caller,
      );
    };
  };
}
