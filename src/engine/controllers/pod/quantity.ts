import { parseQuantity } from '../../../kubernetes/index.ts';
import { PodRefusedError } from './refusals.ts';

/** Value of a Kubernetes quantity such as `64Mi`, `500m` or `1e3`. @throws PodRefusedError for one that can't be read, or has a sign */
export function quantityValue(text: string): number {
  const value = /^[+-]/.test(text) ? undefined : parseQuantity(text);
  if (value === undefined) throw new PodRefusedError(`"${text}" is no amount such as 64Mi`);
  return value;
}

/** Bytes of a Kubernetes quantity. @throws PodRefusedError for one that can't be read */
export function quantityBytes(text: string): number {
  return Math.ceil(quantityValue(text));
}
