import { IDLE_LEASE_NAME } from '../../kubernetes/index.ts';
import type { ObjectReference } from './finding.ts';

/** One right that the router needs, as the manifests in deploy/ grant it. */
export interface Right {
  group: string;
  resource: string;
  verb: string;
  /** Where it must hold; `router` is the router's own namespace, `sandboxes` wherever sandboxes are. */
  scope: 'router' | 'sandboxes';
  /** Only for the object of this name. */
  name?: string;
  /** What the router can't do without it. */
  purpose: string;
  /** Without a `required` right the router does not work; without another it does less. */
  required: boolean;
  /** The role that grants it. */
  role: ObjectReference;
}

const READ_ROLE: ObjectReference = { kind: 'ClusterRole', name: 'sandbox-router-read' };
const WAKE_ROLE: ObjectReference = { kind: 'ClusterRole', name: 'sandbox-router-wake' };
const LEDGER_ROLE: ObjectReference = { kind: 'ClusterRole', name: 'sandbox-router-ledger' };
const SNAPSHOT_ROLE: ObjectReference = { kind: 'ClusterRole', name: 'sandbox-router-snapshots' };

/** Rights of a router in this namespace; those on snapshots only where snapshots are served. */
export function rightsOfRouter(routerNamespace: string, snapshotsServed: boolean): Right[] {
  const leases: ObjectReference = { kind: 'Role', namespace: routerNamespace, name: 'sandbox-router-leases' };
  return [
    ...each('agents.x-k8s.io', 'sandboxes', ['list', 'watch'], 'know the sandboxes', true, READ_ROLE),
    ...each('', 'pods', ['list', 'watch'], 'know the addresses of sandboxes', true, READ_ROLE),
    ...each('agents.x-k8s.io', 'sandboxes', ['patch'], 'wake and pause sandboxes', true, WAKE_ROLE),
    ...each('metrics.k8s.io', 'pods', ['list'], 'see which idle sandboxes use CPU', false, WAKE_ROLE),
    ...each(
      '',
      'events',
      ['create', 'patch', 'list', 'watch'],
      'tell why sandboxes were woken and paused',
      false,
      LEDGER_ROLE,
    ),
    ...each('networking.k8s.io', 'networkpolicies', ['list', 'watch'], 'verify egress classes', false, READ_ROLE),
    ...inRouterNamespace('create', undefined, leases),
    ...inRouterNamespace('get', IDLE_LEASE_NAME, leases),
    ...inRouterNamespace('update', IDLE_LEASE_NAME, leases),
    ...(snapshotsServed
      ? each(
          'podsnapshot.gke.io',
          'podsnapshotmanualtriggers',
          ['create'],
          'keep memory on pause',
          false,
          SNAPSHOT_ROLE,
        )
      : []),
  ];
}

function each(
  group: string,
  resource: string,
  verbs: string[],
  purpose: string,
  required: boolean,
  role: ObjectReference,
): Right[] {
  return verbs.map((verb) => ({ group, resource, verb, scope: 'sandboxes', purpose, required, role }));
}

function inRouterNamespace(verb: string, name: string | undefined, role: ObjectReference): Right[] {
  const named = name === undefined ? {} : { name };
  const purpose = 'agree with other replicas on who pauses idle sandboxes';
  return [
    {
      group: 'coordination.k8s.io',
      resource: 'leases',
      verb,
      scope: 'router',
      ...named,
      purpose,
      required: false,
      role,
    },
  ];
}
