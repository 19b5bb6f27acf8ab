import { countOrZero, listenAddress, nameServers, oneOf, text } from './parsers.ts';
import { define, engines } from './setting.ts';

/** Settings of the engine. */
export const engineSettings = {
  engineListen: define({
    key: 'engineListen',
    description: "address of the engine's Kubernetes API (HTTPS)",
    placeholder: 'host:port',
    default: '127.0.0.1:6440',
    commands: engines,
    parse: listenAddress,
  }),
  nameServers: define({
    key: 'nameServers',
    description: "DNS servers that names which sandboxes may call are asked of; this machine's own without it",
    placeholder: 'address[:port],...',
    default: [] as readonly string[],
    commands: engines,
    parse: nameServers,
  }),
  imageLayouts: define<string | undefined>({
    key: 'imageLayouts',
    description:
      'directory of OCI layouts that images named oci:<name>[:<tag>] are read from; <state-dir>/images without it',
    placeholder: 'path',
    default: undefined,
    commands: engines,
    parse: text,
  }),
  imageCacheBytes: define({
    key: 'imageCacheBytes',
    description:
      'disk that images may take, unpacked and as fetched; those asked for longest ago go, save for what a sandbox uses',
    placeholder: 'bytes',
    default: 21_474_836_480,
    commands: engines,
    parse: countOrZero,
  }),
  preparedSandboxes: define({
    key: 'preparedSandboxes',
    description:
      'gVisor kernels kept ready for paused sandboxes that are likely to be called, which wake a third faster; 0 for none',
    placeholder: 'count',
    default: 4,
    commands: engines,
    parse: countOrZero,
  }),
  preparedBytes: define({
    key: 'preparedBytes',
    description: 'memory that these may take in all; they go when that of the machine is short',
    placeholder: 'bytes',
    default: 268_435_456,
    commands: engines,
    parse: countOrZero,
  }),
  stateDir: define({
    key: 'stateDir',
    description: 'directory of kubeconfig, token and everything the engine keeps',
    placeholder: 'path',
    default: '.sandbox-router',
    commands: engines,
    parse: text,
  }),
  runtime: define<'auto' | 'gvisor' | 'process'>({
    key: 'runtime',
    description: 'auto, gvisor or process (process isolates nothing)',
    placeholder: 'name',
    default: 'auto',
    commands: engines,
    parse: oneOf('auto', 'gvisor', 'process'),
  }),
};
