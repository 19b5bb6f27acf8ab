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
  const capabilities = capabilitiesOf(spec);
  return {
    ociVersion: '1.2.0',
    process: {
      terminal: false,
      user: spec.user,
      args: spec.command,
      env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
      cwd: spec.workingDirectory,
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 65_536, soft: 65_536 }],
      noNewPrivileges: true,
    },
    root: { path: spec.root.path, readonly: spec.readOnlyRoot === true },
    hostname: spec.hostname,
    ...annotationsOf(spec),
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

/** Name of a holder in its sandbox: no container of a Pod can have it. */
const HOLDER_NAME = '-holder-';

/** How containers that share a sandbox find each other, in the words of Kubernetes' runtimes, which runsc reads (runsc/specutils, boot/mount_hints.go). */
function annotationsOf({ group }: ContainerSpec): { annotations?: Record<string, string> } {
  if (group === undefined) return {};
  if (group.role === 'member')
    return {
      annotations: {
        'io.kubernetes.cri.container-type': 'container',
        'io.kubernetes.cri.container-name': group.name,
        'io.kubernetes.cri.sandbox-id': group.sandbox,
      },
    };
  const hints = group.sharedMemory.flatMap(({ name, path, sizeBytes }) => {
    const hint = `dev.gvisor.spec.mount.${name}`;
    const size = sizeBytes === undefined ? '' : `,size=${sizeBytes}`;
    return [
      [`${hint}.source`, path],
      [`${hint}.type`, 'tmpfs'],
      [`${hint}.share`, 'pod'],
      [`${hint}.options`, `rw,mode=1777${size}`],
    ];
  });
  return {
    annotations: {
      'io.kubernetes.cri.container-type': 'sandbox',
      'io.kubernetes.cri.container-name': HOLDER_NAME,
      ...Object.fromEntries(hints),
    },
  };
}

/** As Kubernetes has it: `ALL` first, then the others one by one; what is added wins. Those that gVisor does not know it leaves out. */
function capabilitiesOf({ capabilities: { add, drop } = { add: [], drop: [] } }: ContainerSpec): string[] {
  const named = (names: string[]) => names.map((name) => (name.startsWith('CAP_') ? name : `CAP_${name}`));
  const dropped = named(drop);
  const kept = CAPABILITIES.filter((name) => !dropped.includes('CAP_ALL') && !dropped.includes(name));
  const added = named(add);
  return [...new Set([...kept, ...(added.includes('CAP_ALL') ? CAPABILITIES : added)])];
}

function ociMount({ destination, source, readOnly, sizeBytes }: RuntimeMount): Record<string, unknown> {
  if (source === undefined) {
    const size = sizeBytes === undefined ? [] : [`size=${sizeBytes}`];
    const mode = readOnly ? ['ro'] : [];
    return { destination, type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'mode=1777', ...mode, ...size] };
  }
  return { destination, type: 'bind', source, options: [readOnly ? 'ro' : 'rw', 'rbind', 'nosuid', 'nodev'] };
}
