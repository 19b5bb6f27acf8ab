import { readFileSync, watchFile } from 'node:fs';
import { ConfigError, type Settings } from '../config/index.ts';
import {
  type Authenticator,
  createApiKeyAuthenticator,
  createIdentity,
  createUpTokenAuthenticator,
  type Identity,
  parseApiKeys,
} from '../router/index.ts';
import { report } from './report.ts';
import type { ConfiguredPolicy } from './router-policy.ts';

/** How often key files are looked at. */
const WATCH_INTERVAL_MS = 1000;

/** Who may get in, by the settings; undefined lets anybody in. @throws ConfigError where nobody could */
export function configuredIdentity(
  settings: Settings,
  { policy, onReloaded }: ConfiguredPolicy,
  upTokenFile: string | undefined,
): Identity | undefined {
  if (settings.insecureNoAuth) return undefined;
  const authenticators: Authenticator[] = [];
  const changed = () => identity.forget();
  if (upTokenFile !== undefined) authenticators.push(createUpTokenAuthenticator(upTokenFile));
  if (settings.apiKeysFile !== undefined)
    authenticators.push(createApiKeyAuthenticator(followFile(settings.apiKeysFile, parseApiKeys, changed)));
  if (authenticators.length === 0)
    throw new ConfigError('Nobody could get in: give --api-keys-file, or --insecure-no-auth with a loopback address.');
  const identity = createIdentity(authenticators, policy.tenants);
  onReloaded(changed);
  return identity;
}

/** What a file says, read again when it changes; what can't be read leaves the earlier in force. @throws ConfigError at first */
function followFile<Value>(path: string, parse: (text: string) => Value, changed: () => void): () => Value {
  const read = () => {
    try {
      return parse(readFileSync(path, 'utf8'));
    } catch (error) {
      throw new ConfigError(`${path}: ${(error as Error).message}`);
    }
  };
  let value = read();
  watchFile(path, { interval: WATCH_INTERVAL_MS, persistent: false }, () => {
    try {
      value = read();
      changed();
    } catch (error) {
      report('a changed file is refused, what it said before stays', error);
    }
  });
  return () => value;
}
