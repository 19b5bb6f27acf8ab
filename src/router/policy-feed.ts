import { createReflector, NETWORK_POLICIES, type NetworkPolicy, type ResourceClient } from '../kubernetes/index.ts';
import { egressPolicyOf, type PodJudge } from './policy/index.ts';

/** What is followed, and where. */
export interface PolicyFeedOptions {
  client: ResourceClient;
  judge: PodJudge;
  /** All if empty. */
  namespaces: readonly string[];
  failed(error: unknown): void;
}

/** The reflectors that keep a judge in step with the NetworkPolicies of an API server. */
export interface PolicyFeed {
  isSynced(): boolean;
  close(): void;
}

/** Follows NetworkPolicies. While the server is away the judge keeps what it knows. */
export function startPolicyFeed({ client, judge, namespaces, failed }: PolicyFeedOptions): PolicyFeed {
  let scheduled = false;
  let lastFailure = '';
  // Many changes at once are judged once.
  const settleSoon = () => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      judge.settle();
    });
  };
  const reflectors = (namespaces.length === 0 ? [undefined] : namespaces).map((namespace) => {
    let listing = false;
    return createReflector({
      client,
      ...(namespace === undefined ? {} : { namespace }),
      type: NETWORK_POLICIES,
      listing: () => {
        listing = true;
        judge.beginReplace(namespace);
      },
      listed: () => {
        listing = false;
        judge.endReplace(namespace);
        settleSoon();
      },
      upserted: (object) => {
        judge.upsertPolicy(egressPolicyOf(object as NetworkPolicy));
        if (!listing) settleSoon();
      },
      deleted: ({ metadata }) => {
        judge.deletePolicy(metadata.namespace ?? '', metadata.name);
        settleSoon();
      },
      failed: (error) => {
        // The same failure again and again is one failure.
        if ((error as Error).message !== lastFailure) failed(error);
        lastFailure = (error as Error).message;
      },
    });
  });
  return {
    isSynced: () => reflectors.every((reflector) => reflector.isSynced()),
    close: () => {
      for (const reflector of reflectors) reflector.close();
    },
  };
}
