import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';

/** How long keys are used before they are asked for again; the old ones stay in use meanwhile, and while the issuer is away. */
const FRESH_MS = 600_000;
/** An unknown key asks the issuer again at most this often. */
const COOLDOWN_MS = 30_000;
/** An issuer that never answered yet is asked again sooner: until then nobody gets in. */
const FIRST_COOLDOWN_MS = 2000;
const FETCH_TIMEOUT_MS = 5000;
const LONGEST_DOCUMENT = 1_048_576;

/** Keys of an issuer that publishes them: found by OIDC discovery, cached, renewed in the background, and asked for again when a token names one that is not known. */
export function createRemoteKeys(issuer: string, now: () => number = () => performance.now()): JWTVerifyGetKey {
  let keys: JWTVerifyGetKey | undefined;
  let fetchedAtMs = Number.NEGATIVE_INFINITY;
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let asking: Promise<void> | undefined;

  function ask(): Promise<void> {
    askedAtMs = now();
    asking ??= fetchKeys(issuer)
      .then((set) => {
        keys = createLocalJWKSet(set);
        fetchedAtMs = now();
      })
      .finally(() => {
        asking = undefined;
      });
    return asking;
  }

  const mayAsk = () => now() - askedAtMs >= (keys === undefined ? FIRST_COOLDOWN_MS : COOLDOWN_MS);
  return async (header, token) => {
    if (keys === undefined) {
      if (asking === undefined && !mayAsk()) throw new errors.JWKSNoMatchingKey();
      await ask();
    } else if (now() - fetchedAtMs > FRESH_MS && mayAsk()) ask().catch(() => {});
    try {
      return await (keys as unknown as JWTVerifyGetKey)(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || !mayAsk()) throw error;
      await ask();
      return await (keys as unknown as JWTVerifyGetKey)(header, token);
    }
  };
}

/** The public keys of a JWKS document. @throws Error if it holds none */
export function parsePublicKeys(text: string): JWTVerifyGetKey {
  return createLocalJWKSet(publicKeysOf(JSON.parse(text), 'the file'));
}

async function fetchKeys(issuer: string): Promise<JSONWebKeySet> {
  const found = (await fetchJson(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)) as {
    issuer?: unknown;
    jwks_uri?: unknown;
  };
  if (found.issuer !== issuer) throw new Error(`${issuer} says that it is another issuer`);
  const address = String(found.jwks_uri);
  if (!URL.canParse(address) || (issuer.startsWith('https:') && !address.startsWith('https:')))
    throw new Error(`${issuer} names no place of its keys that can be trusted`);
  return publicKeysOf(await fetchJson(address), address);
}

async function fetchJson(url: string): Promise<unknown> {
  const response = await fetch(url, {
    redirect: 'error',
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > LONGEST_DOCUMENT) throw new Error(`${url} is too long`);
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

/** Symmetric keys are left out: whoever may check with one could also sign with it. */
function publicKeysOf(document: unknown, where: string): JSONWebKeySet {
  const { keys } = (document ?? {}) as { keys?: unknown };
  if (!Array.isArray(keys)) throw new Error(`${where} holds no "keys"`);
  return { keys: keys.filter((key) => key?.kty !== 'oct') };
}
