/** The kinds that the engine serves, one file each. To add one: write its {@link Kind} and list it here. */
import { event } from './event.ts';
import type { Kind } from './kind.ts';
import { namespace } from './namespace.ts';
import { pod } from './pod.ts';
import { sandbox } from './sandbox.ts';

export * from './kind.ts';

/** Every stored kind, in the order of discovery. */
export const KINDS: readonly Kind[] = [namespace, pod, event, sandbox];
