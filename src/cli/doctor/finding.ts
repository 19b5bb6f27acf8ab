/** How bad a finding is; `skipped`: it could not be judged. */
export type Severity = 'ok' | 'warning' | 'failure' | 'skipped';

/** Stable names of the checks: scripts and docs/readiness.md refer to them. */
export type CheckId =
  | 'versions'
  | 'rbac'
  | 'runtime-class'
  | 'node-pools'
  | 'egress-label'
  | 'egress-policy'
  | 'router-ingress'
  | 'warm-pools'
  | 'snapshots';

/** The object that a finding is about. */
export interface ObjectReference {
  kind: string;
  namespace?: string;
  name: string;
}

/** What a check says of one object, or of the cluster as a whole. */
export interface Finding {
  check: CheckId;
  severity: Severity;
  object?: ObjectReference;
  message: string;
  /** What to do about it; only `ok` has none. */
  fix?: string;
}

/** A finding as its check makes it, which need not name itself. */
export type Verdict = Omit<Finding, 'check'>;

/** All is well, in a sentence for everything that was looked at. */
export function ok(message: string): Verdict {
  return { severity: 'ok', message };
}

/** It works, but not as well or as safely as it should. */
export function warning(object: ObjectReference | undefined, message: string, fix: string): Verdict {
  return { severity: 'warning', ...(object === undefined ? {} : { object }), message, fix };
}

/** Not fit for production. */
export function failure(object: ObjectReference | undefined, message: string, fix: string): Verdict {
  return { severity: 'failure', ...(object === undefined ? {} : { object }), message, fix };
}

/** It could not be judged. */
export function skipped(message: string, fix: string): Verdict {
  return { severity: 'skipped', message, fix };
}

/** `Pod team-a/box`, as messages and fixes name objects. */
export function nameOf({ kind, namespace, name }: ObjectReference): string {
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

/** Reference to an object that was read. */
export function referenceTo(object: { kind: string; metadata: { namespace?: string; name: string } }): ObjectReference {
  const { namespace, name } = object.metadata;
  return { kind: object.kind, ...(namespace === undefined ? {} : { namespace }), name };
}

/** `1 sandbox`, `3 sandboxes`. */
export function count(amount: number, singular: string, plural = `${singular}s`): string {
  return `${amount} ${amount === 1 ? singular : plural}`;
}
