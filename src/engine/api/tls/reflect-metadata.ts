/**
 * The three functions of the Reflect metadata proposal that the X.509 library's dependency container asks for. Loaded only when a
 * certificate is made, and only if no one else brought them.
 */
const metadata = new WeakMap<object, Map<unknown, unknown>>();

const additions = {
  defineMetadata(key: unknown, value: unknown, target: object): void {
    const known = metadata.get(target) ?? new Map<unknown, unknown>();
    metadata.set(target, known.set(key, value));
  },
  getOwnMetadata: (key: unknown, target: object): unknown => metadata.get(target)?.get(key),
  getMetadata(key: unknown, target: object | null): unknown {
    for (let owner = target; owner !== null; owner = Object.getPrototypeOf(owner)) {
      const known = metadata.get(owner);
      if (known?.has(key)) return known.get(key);
    }
    return undefined;
  },
};

if (!('getMetadata' in Reflect)) Object.assign(Reflect, additions);
