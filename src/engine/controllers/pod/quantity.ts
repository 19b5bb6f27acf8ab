import { PodRefusedError } from './refusals.ts';

const FACTORS: Record<string, number> = {
  '': 1,
  n: 1e-9,
  u: 1e-6,
  m: 0.001,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** Value of a Kubernetes quantity such as `64Mi`, `500m` or `1e3`. @throws PodRefusedError for one that can't be read */
export function quantityValue(text: string): number {
  const [, number, exponent, unit = ''] =
    /^(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?$/.exec(text) ?? [];
  if (number === undefined) throw new PodRefusedError(`"${text}" is no amount such as 64Mi`);
  return Number(number) * (exponent === undefined ? (FACTORS[unit] ?? 1) : 10 ** Number(exponent));
}

/** Bytes of a Kubernetes quantity. @throws PodRefusedError for one that can't be read */
export function quantityBytes(text: string): number {
  return Math.ceil(quantityValue(text));
}
