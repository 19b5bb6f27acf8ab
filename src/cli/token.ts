import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { Command } from 'commander';
import { ConfigError, parseDurationMs } from '../config/index.ts';
import {
  createApiKey,
  formatApiKeys,
  mintScopedToken,
  parseApiKeys,
  SCOPES,
  type Scope,
  type ScopedTokenKey,
  type StoredApiKey,
  scopedTokenKey,
} from '../router/index.ts';
import { textTable } from './text-table.ts';

interface FileOption {
  file: string;
}

interface CreateOptions extends FileOption {
  tenant: string;
  scope: string;
  expires: string;
  namespaces?: string;
}

/** `sandbox-router token`: makes, lists and revokes the API keys that `serve --api-keys-file` accepts. */
export function tokenCommand(): Command {
  const file = process.env.SANDBOX_ROUTER_API_KEYS_FILE ?? 'api-keys.json';
  const verb = (name: string) => new Command(name).option('--file <path>', 'file of hashed keys', file);
  return new Command('token')
    .description(
      'create, list and revoke API keys, which routers read anew within a second; mint tokens for one sandbox',
    )
    .addCommand(
      verb('create')
        .description('add a key and print it: only its hash is kept')
        .requiredOption('--tenant <name>', 'tenant whose key it is')
        .option('--scope <scopes>', `comma separated: ${SCOPES.join(', ')}`, 'route,wake')
        .requiredOption('--expires <when>', 'duration (90d), time (2027-01-31T00:00:00Z) or never')
        .option('--namespaces <names>', 'comma separated, or "*"; the tenant\'s own without it')
        .action(create),
    )
    .addCommand(
      new Command('mint-scoped')
        .argument('<sandbox>', 'sandbox that the token is for')
        .requiredOption('-n, --namespace <name>', 'its namespace')
        .requiredOption('--key <[id=]file>', "secret, as one of the routers' --scoped-token-keys: v2 tokens with an id")
        .option('--expires <duration>', 'when it ends', '1h')
        .description('print a token that reaches and wakes one sandbox; no router is asked')
        .action(mintScoped),
    )
    .addCommand(verb('list').description('show the keys of the file').action(list))
    .addCommand(verb('revoke').description('take a key out of the file').argument('<id>').action(revoke));
}

function create(options: CreateOptions): void {
  const { tenant, file } = options;
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(tenant))
    throw new ConfigError(`--tenant must be a name such as tenant-a, not ${JSON.stringify(tenant)}.`);
  const expiresAt = expiryOf(options.expires, Date.now());
  const { key, stored } = createApiKey({
    tenant,
    scopes: scopesOf(options.scope),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(options.namespaces === undefined
      ? {}
      : { namespaces: options.namespaces === '*' ? '*' : wordsOf(options.namespaces) }),
  });
  changeKeys(file, (keys) => [...keys, stored]);
  console.error(`Key ${stored.id} is in ${file}. It is shown this once:`);
  console.log(key);
}

function mintScoped(sandbox: string, flags: { namespace: string; key: string; expires: string }): void {
  for (const [what, name] of [
    ['The sandbox', sandbox],
    ['--namespace', flags.namespace],
  ] as const)
    if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name))
      throw new ConfigError(`${what} must be a name such as box-1, not ${JSON.stringify(name)}.`);
  const [, id, path = ''] = /^(?:([A-Za-z0-9_-]{1,64})=)?(.+)$/.exec(flags.key) ?? [];
  const expiresAt = expiryOf(flags.expires, Date.now());
  if (expiresAt === undefined) throw new ConfigError('--expires: scoped tokens have an end; "never" is none.');
  const expiresAtSeconds = Math.floor(Date.parse(expiresAt) / 1000);
  if (expiresAtSeconds * 1000 <= Date.now()) throw new ConfigError('--expires must be at least 1s away.');
  let key: ScopedTokenKey;
  try {
    key = scopedTokenKey(readFileSync(path), id);
  } catch (error) {
    throw new ConfigError(`--key: ${(error as Error).message}`);
  }
  console.log(mintScopedToken(key, { namespace: flags.namespace, name: sandbox, expiresAtSeconds }));
}

function list({ file }: FileOption): void {
  const nowMs = Date.now();
  const rows = readKeys(file).map(({ id, tenant, scopes, namespaces, expiresAt }) => [
    id,
    tenant,
    scopes.join(','),
    namespaces === undefined ? '' : [namespaces].flat().join(','),
    expiresAt === undefined ? 'never' : `${expiresAt}${Date.parse(expiresAt) <= nowMs ? ' (expired)' : ''}`,
  ]);
  console.log(rows.length === 0 ? 'No keys.' : textTable(['ID', 'TENANT', 'SCOPES', 'NAMESPACES', 'EXPIRES'], rows));
}

function revoke(id: string, { file }: FileOption): void {
  changeKeys(file, (keys) => {
    const left = keys.filter((key) => key.id !== id);
    if (left.length === keys.length) throw new ConfigError(`There is no key ${JSON.stringify(id)} in ${file}.`);
    return left;
  });
  console.log(`Key ${id} is revoked.`);
}

/** Reads, changes and replaces the file: whole or not at all, readable by its owner alone, by one process at a time. */
function changeKeys(path: string, change: (keys: StoredApiKey[]) => StoredApiKey[]): void {
  const temporary = `${path}.new`;
  let file: number;
  try {
    // Made before the keys are read, so that it also keeps a second writer out.
    file = openSync(temporary, 'wx', 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new ConfigError(`Another command changes ${path} now. If none does, delete ${temporary}.`);
  }
  try {
    writeSync(file, formatApiKeys(change(existsSync(path) ? readKeys(path) : [])));
    fsyncSync(file);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

function readKeys(path: string): StoredApiKey[] {
  try {
    return parseApiKeys(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new ConfigError(`${path}: ${(error as Error).message}`);
  }
}

function scopesOf(text: string): Scope[] {
  const words = wordsOf(text);
  const wrong = words.find((word) => !(SCOPES as readonly string[]).includes(word));
  if (wrong !== undefined || words.length === 0)
    throw new ConfigError(`--scope may hold ${SCOPES.join(', ')}, not ${JSON.stringify(wrong ?? text)}.`);
  return SCOPES.filter((scope) => words.includes(scope));
}

function expiryOf(text: string, nowMs: number): string | undefined {
  if (text === 'never') return undefined;
  const isTime = /^\d{4}-\d\d-\d\dT/.test(text);
  try {
    const atMs = isTime ? Date.parse(text) : nowMs + parseDurationMs(text);
    if (atMs <= nowMs) throw new Error('must lie in the future');
    return new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z');
  } catch {
    throw new ConfigError(`--expires must be "never", or a duration or time to come, not ${JSON.stringify(text)}.`);
  }
}

function wordsOf(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}
