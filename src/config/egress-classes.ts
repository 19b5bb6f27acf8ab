import { aSwitch, aText, entriesOf, listOf, readMapping } from './structured.ts';

/** What an egress class of the operator's own promises (see `EgressPromise` of the router's policy). */
export interface EgressClassSettings {
  clusterPeers: boolean;
  allowed: string[];
  never: string[];
}

/** Never reachable unless a class says so itself: link-local addresses carry the credentials of nodes. */
const NEVER = ['169.254.0.0/16', 'fe80::/10'];

/** Own egress classes by name; the built-in ones may be defined anew. @throws Error that names class and key */
export function parseEgressClasses(raw: unknown): ReadonlyMap<string, EgressClassSettings> {
  const blocks = listOf((value, where) => {
    const text = aText(value, where);
    if (!/^[0-9a-fA-F.:]+\/\d{1,3}$/.test(text)) throw new Error(`${where} must be a block such as 10.0.0.0/8`);
    return text;
  });
  return new Map(
    entriesOf(raw, 'egressClasses').map(([name, value]) => {
      const fields = readMapping(value, `egressClasses.${name}`, {
        clusterPeers: aSwitch,
        allowed: blocks,
        never: blocks,
      });
      return [name, { clusterPeers: false, allowed: [], never: NEVER, ...fields }];
    }),
  );
}
