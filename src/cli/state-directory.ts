import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Where `up` keeps everything (design section 8); absolute paths. */
export interface StateDirectory {
  root: string;
  engine: string;
  binaries: string;
  kubeconfig: string;
  token: string;
  /** Signs browser links. */
  linkKey: string;
  /** Gives the directory up for the next process. */
  release(): void;
}

/** Another process works on the state directory. */
export class StateDirectoryBusyError extends Error {
  readonly code = 'state_directory_busy';
}

/**
 * Makes the directory where it is missing and takes it for this process; a holder that died without releasing it is noticed by its pid and start
 * time. @throws StateDirectoryBusyError while another process holds it
 */
export function openStateDirectory(path: string): StateDirectory {
  const root = resolve(path);
  const engine = join(root, 'engine');
  mkdirSync(engine, { recursive: true });
  chmodSync(root, 0o700);
  const pidPath = join(engine, 'pid');
  const holder = existsSync(pidPath) ? readFileSync(pidPath, 'utf8').trim() : '';
  const [holderPid = ''] = holder.split(' ');
  if (holder !== '' && Number(holderPid) !== process.pid && holder === identityOf(Number(holderPid)))
    throw new StateDirectoryBusyError(
      `${root} is in use by process ${holderPid}. Stop that one, or choose another --state-dir.`,
    );
  writeFileSync(pidPath, identityOf(process.pid));
  return {
    root,
    engine,
    binaries: join(root, 'bin'),
    kubeconfig: join(root, 'kubeconfig'),
    token: join(root, 'token'),
    linkKey: join(root, 'link-key'),
    release: () => rmSync(pidPath, { force: true }),
  };
}

/** The token in a file that only its owner may read; made at first start, with 256 random bits. */
export function ensureToken(path: string): string {
  if (existsSync(path)) {
    const token = readFileSync(path, 'utf8').trim();
    if (token.length >= 32) return token;
  }
  const token = randomBytes(32).toString('base64url');
  const temporary = `${path}.new`;
  writeFileSync(temporary, `${token}\n`, { mode: 0o600 });
  renameSync(temporary, path);
  return token;
}

/** Pid and kernel start time: a pid alone comes back. Without /proc (off Linux) the pid has to do. */
function identityOf(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ');
    return `${pid} ${fields?.[19]}`;
  } catch {
    try {
      process.kill(pid, 0);
      return existsSync('/proc/self') ? '' : `${pid}`;
    } catch {
      return '';
    }
  }
}
