import { duration, durationOrNever, millicores, oneOf, text } from './parsers.ts';
import { all, define, routers } from './setting.ts';

/** Settings of pausing what is idle. */
export const idleSettings = {
  idleTimeoutMs: define({
    key: 'idleTimeout',
    description: 'pause sandboxes without an annotation of their own after this time without use, or never',
    placeholder: 'duration|never',
    default: 0,
    commands: routers,
    parse: durationOrNever,
  }),
  idleCpuFloorMillicores: define({
    key: 'idleCpuFloor',
    description: 'CPU from which on its use keeps a sandbox awake (100m, 0.5), 0 for none; sandboxes may have another',
    placeholder: 'cpu',
    default: 0,
    commands: all,
    parse: millicores,
  }),
  activityIntervalMs: define({
    key: 'activityInterval',
    description: "how often a sandbox's use is told to the other routers: one write each time",
    placeholder: 'duration',
    default: 30_000,
    commands: ['serve'],
    parse: duration,
  }),
  leaseNamespace: define({
    key: 'leaseNamespace',
    description: 'namespace of the Lease by which routers choose the one that pauses idle sandboxes',
    placeholder: 'name',
    default: 'agent-sandbox-system',
    commands: ['serve'],
    parse: text,
  }),
  podSnapshots: define<'auto' | 'off'>({
    key: 'podSnapshots',
    description: 'auto takes a Pod snapshot (podsnapshot.gke.io) before an idle pause where the cluster serves them',
    placeholder: 'auto|off',
    default: 'auto',
    commands: ['serve'],
    parse: oneOf('auto', 'off'),
  }),
};
