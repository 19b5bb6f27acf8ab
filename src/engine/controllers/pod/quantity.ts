import { PodRefusedError } from './refusals.ts';

const FACTORS: Record<string, number> = {
  '': 1,
  m: 0.001,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** Bytes of a Kubernetes quantity such as `64Mi`. @throws PodRefusedError for one that can't be read */
export function quantityBytes(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([mkMGT]|[KMGT]i)?$/.exec(text) ?? [];
  if (number === undefined) throw new PodRefusedError(`"${text}" is no amount of bytes such as 64Mi`);
  return Math.ceil(Number(number) * (FACTORS[unit] ?? 1));
}
