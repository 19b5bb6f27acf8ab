import type { PodPlace } from './pod-fields.ts';

/** /etc/hosts of a Pod as a kubelet makes it: loopback, the Pod itself, and its hostAliases. */
export function hostsText({ pod, address }: PodPlace): string {
  const { hostAliases = [] } = pod.spec as { hostAliases?: { ip: string; hostnames?: string[] }[] };
  const name = pod.spec.hostname ?? pod.metadata.name;
  const lines = [
    ['127.0.0.1', 'localhost'],
    ['::1', 'localhost', 'ip6-localhost', 'ip6-loopback'],
    [address, name],
    ...hostAliases.map(({ ip, hostnames = [] }) => [ip, ...hostnames]),
  ];
  // What a Pod says must not become lines of its own.
  return lines.map((words) => `${words.map((word) => word.replace(/\s+/g, '')).join('\t')}\n`).join('');
}
