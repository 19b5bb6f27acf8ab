import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerSpec, RuntimeMount } from '../runtime.ts';

/** What a container may do with its own kernel, the sentry: the usual set of container engines without raw sockets and device nodes. */
const CAPABILITIES = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

/** Writes an OCI bundle (config.json) for a container and returns its directory. */
export function writeBundle(directory: string, spec: ContainerSpec): string {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'config.json'), JSON.stringify(ociConfig(spec)));
  return directory;
}

/** OCI runtime specification 1.2 of a container. */
export function ociConfig(spec: ContainerSpec): Record<string, unknown> {
  const network = spec.network.namespacePath;
  return {
    ociVersion: '1.2.0',
    process: {
      terminal: false,
      user: spec.user,
      args: spec.command,
      env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
      cwd: spec.workingDirectory,
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 65_536, soft: 65_536 }],
      noNewPrivileges: true,
    },
    root: { path: spec.root.path, readonly: false },
    hostname: spec.hostname,
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs' },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      ...spec.root.mounts.map(ociMount),
    ],
    linux: {
      namespaces: [
        { type: 'pid' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'mount' },
        network === undefined ? { type: 'network' } : { type: 'network', path: network },
      ],
    },
  };
}

function ociMount({ destination, source, readOnly }: RuntimeMount): Record<string, unknown> {
  if (source === undefined)
    return { destination, type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'mode=1777'] };
  return { destination, type: 'bind', source, options: [readOnly ? 'ro' : 'rw', 'rbind', 'nosuid', 'nodev'] };
}
