import { isApiError } from '../../kubernetes/index.ts';

/** What a call gives, or undefined where RBAC forbids it. */
export async function unlessForbidden<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (isApiError(error, 'Forbidden')) return undefined;
    throw error;
  }
}
