import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { parse } from 'yaml';

/** How to reach and authenticate to one API server. */
export interface ApiAccess {
  /** URL of the server without a trailing slash. */
  server: string;
  /** Server name to verify when it differs from the URL's host. */
  serverName?: string;
  ca?: string | Buffer;
  certificate?: string | Buffer;
  key?: string | Buffer;
  /** True only where the kubeconfig itself turns verification off. */
  skipVerify: boolean;
  /** Headers that authenticate a request; asked for each time, as tokens in files are rotated. */
  authenticate(): Promise<Record<string, string>> | Record<string, string>;
  /** Namespace of the current context. */
  namespace: string;
}

/** A kubeconfig that can't be used; the message names the file and the fix. */
export class KubeConfigError extends Error {
  readonly code = 'kubeconfig_invalid';
}

interface NamedEntry<Value> {
  name: string;
  cluster?: Value;
  user?: Value;
  context?: Value;
}

interface ClusterEntry {
  server: string;
  'certificate-authority'?: string;
  'certificate-authority-data'?: string;
  'insecure-skip-tls-verify'?: boolean;
  'tls-server-name'?: string;
}

interface UserEntry {
  token?: string;
  tokenFile?: string;
  username?: string;
  password?: string;
  'client-certificate'?: string;
  'client-certificate-data'?: string;
  'client-key'?: string;
  'client-key-data'?: string;
  exec?: unknown;
  'auth-provider'?: unknown;
}

/** How long a token read from a file is believed; kubelets rotate theirs well before they expire. */
const TOKEN_FILE_TTL_MS = 60_000;
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Access by the kubeconfig at `path`, else KUBECONFIG, else the in-cluster service account, else ~/.kube/config.
 * Exec plugins and auth providers go through @kubernetes/client-node, which is loaded only then: it costs a second and 100 MB.
 * @throws KubeConfigError
 */
export function loadKubeConfig(
  { path }: { path?: string } = {},
  environment: NodeJS.ProcessEnv = process.env,
): ApiAccess {
  const chosen = path ?? environment.KUBECONFIG?.split(':').find((candidate) => existsSync(candidate));
  if (chosen !== undefined) return fromFile(chosen);
  if (environment.KUBERNETES_SERVICE_HOST !== undefined && existsSync(join(SERVICE_ACCOUNT, 'token')))
    return inCluster(environment);
  const standard = join(homedir(), '.kube', 'config');
  if (existsSync(standard)) return fromFile(standard);
  throw new KubeConfigError('No cluster to talk to: give --kubeconfig, set KUBECONFIG, or run inside a cluster.');
}

function inCluster(environment: NodeJS.ProcessEnv): ApiAccess {
  const host = environment.KUBERNETES_SERVICE_HOST ?? '';
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${environment.KUBERNETES_SERVICE_PORT ?? '443'}`,
    ca: readFileSync(join(SERVICE_ACCOUNT, 'ca.crt')),
    skipVerify: false,
    authenticate: tokenFromFile(join(SERVICE_ACCOUNT, 'token')),
    namespace: readFileSync(join(SERVICE_ACCOUNT, 'namespace'), 'utf8').trim(),
  };
}

function fromFile(path: string): ApiAccess {
  let document: Record<string, unknown>;
  try {
    document = parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  } catch (error) {
    throw new KubeConfigError(`Can't read the kubeconfig ${path}: ${(error as Error).message}`);
  }
  const pick = <Value>(list: string, kind: keyof NamedEntry<Value>, name: string | undefined): Value => {
    const entries = (document[list] ?? []) as NamedEntry<Value>[];
    const found = entries.find((entry) => entry.name === name)?.[kind] as Value | undefined;
    if (found === undefined) throw new KubeConfigError(`${path} has no ${kind} named "${name}".`);
    return found;
  };
  const context = pick<{ cluster: string; user?: string; namespace?: string }>(
    'contexts',
    'context',
    document['current-context'] as string | undefined,
  );
  const cluster = pick<ClusterEntry>('clusters', 'cluster', context.cluster);
  const user = context.user === undefined || context.user === '' ? {} : pick<UserEntry>('users', 'user', context.user);
  const file = (relative: string | undefined, data: string | undefined): Buffer | undefined => {
    if (data !== undefined) return Buffer.from(data, 'base64');
    return relative === undefined ? undefined : readFileSync(resolveBeside(path, relative));
  };
  const ca = file(cluster['certificate-authority'], cluster['certificate-authority-data']);
  const certificate = file(user['client-certificate'], user['client-certificate-data']);
  const key = file(user['client-key'], user['client-key-data']);
  return {
    server: cluster.server.replace(/\/+$/, ''),
    skipVerify: cluster['insecure-skip-tls-verify'] === true,
    authenticate: authenticator(path, user),
    namespace: context.namespace ?? 'default',
    ...(cluster['tls-server-name'] === undefined ? {} : { serverName: cluster['tls-server-name'] }),
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { certificate }),
    ...(key === undefined ? {} : { key }),
  };
}

function authenticator(path: string, user: UserEntry): ApiAccess['authenticate'] {
  if (user.exec !== undefined || user['auth-provider'] !== undefined) return pluginHeaders(path);
  if (user.tokenFile !== undefined) return tokenFromFile(resolveBeside(path, user.tokenFile));
  if (user.token !== undefined) return constant({ authorization: `Bearer ${user.token}` });
  if (user.username !== undefined) {
    const basic = Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64');
    return constant({ authorization: `Basic ${basic}` });
  }
  return constant({});
}

function constant(headers: Record<string, string>): ApiAccess['authenticate'] {
  return () => headers;
}

function tokenFromFile(path: string): ApiAccess['authenticate'] {
  let headers: Record<string, string> = {};
  let readAt = Number.NEGATIVE_INFINITY;
  return () => {
    if (performance.now() - readAt > TOKEN_FILE_TTL_MS) {
      headers = { authorization: `Bearer ${readFileSync(path, 'utf8').trim()}` };
      readAt = performance.now();
    }
    return headers;
  };
}

function pluginHeaders(path: string): ApiAccess['authenticate'] {
  let loaded: Promise<(options: { headers: Record<string, string> }) => Promise<void>> | undefined;
  return async () => {
    loaded ??= import('@kubernetes/client-node').then(({ KubeConfig }) => {
      const config = new KubeConfig();
      config.loadFromFile(path);
      return (options) => config.applyToHTTPSOptions(options);
    });
    const options: { headers: Record<string, string> } = { headers: {} };
    await (await loaded)(options);
    const value = options.headers.Authorization ?? options.headers.authorization;
    const headers: Record<string, string> = value === undefined ? {} : { authorization: value };
    return headers;
  };
}

function resolveBeside(path: string, relative: string): string {
  return isAbsolute(relative) ? relative : join(dirname(path), relative);
}
