import { CLONE_ANNOTATION, type PodSpec, type SandboxTemplate } from '../../../kubernetes/index.ts';

/** Fields of a Pod that are the same in all Pods of a template. */
const SHARED_FIELDS = [
  'metadata.namespace',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
];

/** Whether the members of a template's pools are to be copies. */
export function wantsCopies({ metadata }: SandboxTemplate): boolean {
  return metadata.annotations?.[CLONE_ANNOTATION] === 'true';
}

/** Why Pods of this template can't be copies of one, for people; undefined where they can. */
export function copyRefusal({ spec }: SandboxTemplate): string | undefined {
  const { podTemplate, volumeClaimTemplates = [] } = spec;
  const claimed = (podTemplate.spec.volumes ?? []).some(({ persistentVolumeClaim }) => persistentVolumeClaim);
  if (volumeClaimTemplates.length > 0 || claimed)
    return 'its Pods have volumes that outlive them, and these are not part of a snapshot';
  const variable = ownVariable(podTemplate.spec);
  if (variable !== undefined)
    return `variable ${variable} has another value in each Pod, and all copies would have that of the first`;
  return undefined;
}

/** A variable that tells a Pod about itself. */
function ownVariable({ containers, initContainers = [] }: PodSpec): string | undefined {
  const variables = [...containers, ...initContainers].flatMap(({ env = [] }) => env);
  return variables.find(({ valueFrom }) => {
    const path = valueFrom?.fieldRef?.fieldPath;
    return path !== undefined && !SHARED_FIELDS.includes(path);
  })?.name;
}
