import type { Pod } from '../../../kubernetes/index.ts';

/** What the downward API needs besides the Pod itself. */
export interface PodPlace {
  pod: Pod;
  address: string;
}

/**
 * A field of a Pod by its path, as the downward API has them (`metadata.name`, `metadata.labels['app']`, `status.podIP`; whole maps as lines of `key="value"`).
 * Undefined for a path that is none.
 */
export function podField({ pod, address }: PodPlace, path: string): string | undefined {
  const { metadata, spec } = pod;
  const [, map, key] = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path) ?? [];
  if (map !== undefined && key !== undefined) return metadata[map as 'labels' | 'annotations']?.[key] ?? '';
  const fields: Record<string, string> = {
    'metadata.name': metadata.name,
    'metadata.namespace': metadata.namespace ?? '',
    'metadata.uid': metadata.uid ?? '',
    'metadata.labels': asLines(metadata.labels),
    'metadata.annotations': asLines(metadata.annotations),
    'spec.nodeName': spec.nodeName ?? '',
    'spec.serviceAccountName': (spec as { serviceAccountName?: string }).serviceAccountName ?? 'default',
    'status.podIP': address,
    'status.podIPs': address,
    'status.hostIP': '127.0.0.1',
    'status.hostIPs': '127.0.0.1',
  };
  return Object.hasOwn(fields, path) ? fields[path] : undefined;
}

function asLines(map: Record<string, string> = {}): string {
  return Object.entries(map)
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join('\n');
}
