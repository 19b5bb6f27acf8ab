import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { RuntimeMount } from '../runtime/index.ts';
import type { ImageRoot } from './images.ts';

/** What the built-in image is made from. */
export interface ToolboxOptions {
  /** Its root is laid out here. */
  directory: string;
  /** The Node.js that runs the agent: this program's own. */
  nodePath: string;
  /** Directory with the agent, the counter and their launchers. */
  agentDirectory: string;
}

/** Where the agent lies inside the sandbox. */
const AGENT = '/opt/sandbox-router';
const SYSTEM_DIRECTORIES = ['usr', 'bin', 'sbin', 'lib', 'lib32', 'lib64'];
const EMPTY_DIRECTORIES = [
  'proc',
  'dev',
  'sys',
  'tmp',
  'run',
  'home',
  'root',
  'var',
  'var/tmp',
  'mnt',
  'workspace',
  'opt/sandbox-router/agent',
  'opt/sandbox-router/node',
  'etc/ssl/certs',
  'etc/alternatives',
];

const FILES: Record<string, string> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  'etc/hosts': '127.0.0.1 localhost\n::1 localhost\n',
  'etc/resolv.conf': '',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
};

/**
 * The host's programs, read-only, under a small root of our own: no /etc, no /home, no /var of the host. Python and Node that the host keeps outside /usr come
 * along, and only they.
 */
export function makeToolbox({ directory, nodePath, agentDirectory }: ToolboxOptions): ImageRoot {
  for (const path of EMPTY_DIRECTORIES) mkdirSync(join(directory, path), { recursive: true });
  for (const [path, text] of Object.entries(FILES)) writeFileSync(join(directory, path), text);
  const interpreters = interpretersOutsideUsr();
  const mounts: RuntimeMount[] = [
    ...SYSTEM_DIRECTORIES.flatMap((name) => systemDirectory(directory, name)),
    ...['/etc/ssl/certs', '/etc/alternatives'].filter((path) => existsSync(path)).map((path) => readOnly(path, path)),
    readOnly(`${AGENT}/agent`, agentDirectory),
    readOnly(`${AGENT}/node`, dirname(nodePath)),
    ...interpreters.map((path) => readOnly(path, path)),
    { destination: '/tmp', readOnly: false },
  ];
  for (const path of interpreters) mkdirSync(join(directory, path), { recursive: true });
  return {
    root: { path: directory, mounts },
    entrypoint: [],
    command: [`${AGENT}/agent/bin/sandbox-router-agent`],
    env: {
      PATH: [
        `${AGENT}/agent/bin`,
        ...interpreters.map((path) => `${path}/bin`),
        '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
      ].join(':'),
      HOME: '/workspace',
      LANG: 'C.UTF-8',
      SANDBOX_ROUTER_NODE: `${AGENT}/node/node`,
      SANDBOX_ROUTER_BUSY_SOCKET: '/run/sandbox-router/busy.sock',
    },
    workingDirectory: '/workspace',
    user: { uid: 0, gid: 0 },
  };
}

function readOnly(destination: string, source: string): RuntimeMount {
  return { destination, source, readOnly: true };
}

/** A directory of the host's system, or the same link where it is one (`/bin` → `usr/bin`). */
function systemDirectory(root: string, name: string): RuntimeMount[] {
  const source = `/${name}`;
  if (!existsSync(source)) return [];
  const destination = join(root, name);
  if (lstatSync(source).isSymbolicLink()) {
    // Where the link leads there is nothing before the mounts, so `existsSync` would not see it.
    if (lstatSync(destination, { throwIfNoEntry: false }) === undefined) symlinkSync(readlinkSync(source), destination);
    return [];
  }
  mkdirSync(destination, { recursive: true });
  return [readOnly(source, source)];
}

/** A busy machine takes its time, and without an interpreter that was there before, no snapshot fits the image any more. */
const INTERPRETER_TIMEOUT_MS = 30_000;

/** Prefixes of the python3 and node that the host's PATH finds, where they lie outside the system directories. */
function interpretersOutsideUsr(): string[] {
  const ask = (command: string, script: string[]): string | undefined => {
    try {
      return execFileSync(command, script, {
        encoding: 'utf8',
        timeout: INTERPRETER_TIMEOUT_MS,
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    } catch {
      return undefined;
    }
  };
  const python = ask('python3', ['-c', 'import sys; print(sys.base_prefix)']);
  const node = ask('node', ['-p', 'require("path").dirname(require("path").dirname(process.execPath))']);
  return [...new Set([python, node])].filter(
    (prefix): prefix is string =>
      prefix !== undefined &&
      prefix !== '/' &&
      !prefix.startsWith('/usr') &&
      !prefix.includes('node_modules') &&
      existsSync(join(prefix, 'bin')),
  );
}
