import type { FastifyError } from 'fastify';
import { isApiError } from '../../kubernetes/index.ts';
import { type Problem, ProblemError } from '../problem.ts';

/** What an error of a control route is to its caller. `report` is told of those that are the router's own. */
export function problemOfError(error: unknown, report: (error: unknown) => void): Problem {
  if (error instanceof ProblemError) return error.problem;
  const { statusCode, validation, validationContext } = error as Partial<FastifyError>;
  if (validation !== undefined)
    return { code: 'bad_request', detail: describeValidation(validation, validationContext) };
  if (statusCode === 413) return { code: 'body_too_large', detail: (error as Error).message };
  if (statusCode !== undefined && statusCode < 500 && !isApiError(error))
    return { code: 'bad_request', detail: (error as Error).message };
  report(error);
  return { code: 'internal', detail: 'The router failed; its log says why.' };
}

/** What the API server's refusal is to a caller. `what` names what was asked of it. @throws the error itself if it is no refusal */
export function refusalOf(error: unknown, what: string): ProblemError {
  if (isApiError(error, 'Forbidden'))
    return new ProblemError({
      code: 'forbidden',
      detail: `The API server does not let this router ${what}: ${error.message}`,
    });
  if (isApiError(error, 'Invalid') || isApiError(error, 'BadRequest'))
    return new ProblemError({ code: 'bad_request', detail: error.message });
  // A kind that is not there has no details about an object.
  if (isApiError(error, 'NotFound') && error.status.details?.name === undefined)
    return new ProblemError({ code: 'not_served', detail: `The cluster has nothing to ${what} with.` });
  throw error;
}

type Validation = NonNullable<FastifyError['validation']>;

/** The first thing that is wrong, by its name, and what would be right. */
function describeValidation(validation: Validation, context = 'request'): string {
  // Of alternatives that all fail, the last error tells what they are alternatives for.
  const error = validation.find(({ keyword }) => keyword === 'oneOf') ?? validation[0];
  const where = `${context}${error?.instancePath.replaceAll('/', '.') ?? ''}`;
  const params = (error?.params ?? {}) as Record<string, unknown>;
  switch (error?.keyword) {
    case 'additionalProperties':
      return `${where}: unknown field "${params.additionalProperty}".`;
    case 'oneOf': {
      const required = validation.filter(({ keyword }) => keyword === 'required');
      const names = required.map((each) => `"${(each.params as { missingProperty: string }).missingProperty}"`);
      return `${where}: exactly one ${names.length > 0 ? `of ${names.join(', ')} ` : 'of the alternatives '}is wanted.`;
    }
    case 'not':
      return `${where}: "lifetime" and "shutdownTime" exclude each other.`;
    case 'enum':
      return `${where} must be one of ${(params.allowedValues as string[]).join(', ')}.`;
    case 'pattern':
      return `${where} must match ${params.pattern}.`;
    default:
      return `${where} ${error?.message ?? 'is not valid'}.`;
  }
}
