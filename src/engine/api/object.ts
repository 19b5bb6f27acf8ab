import type { KubernetesObject } from '../../kubernetes/index.ts';

/** An API object whose parts beyond metadata are looked at by path. */
export type ApiObject = KubernetesObject & Record<string, unknown>;

/** The value at a path of property names, undefined where the path ends early. */
export function at(value: unknown, ...path: string[]): unknown {
  let found = value;
  for (const name of path) {
    if (typeof found !== 'object' || found === null) return undefined;
    found = (found as Record<string, unknown>)[name];
  }
  return found;
}

/** The string at a path, `''` when there is none; booleans and numbers are spelled out. */
export function text(value: unknown, ...path: string[]): string {
  const found = at(value, ...path);
  return found === undefined || found === null || typeof found === 'object' ? '' : String(found);
}

/** The list at a path, empty when there is none. */
export function items(value: unknown, ...path: string[]): unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}

/** Status and reason of a condition, if the object has it. */
export function condition(value: unknown, type: string): { status: string; reason: string } | undefined {
  const found = items(value, 'status', 'conditions').find((entry) => at(entry, 'type') === type);
  return found === undefined ? undefined : { status: text(found, 'status'), reason: text(found, 'reason') };
}
