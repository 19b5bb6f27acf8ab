/**
 * Whether a flag of a query is set. As in Kubernetes (apimachinery, pkg/runtime/converter), only `false` and `0` in any spelling say no, and a flag without
 * a value says yes: Python's clients send `True`.
 */
export function isSet(value: string | null | undefined): boolean {
  return value !== undefined && value !== null && !['false', '0'].includes(value.toLowerCase());
}
