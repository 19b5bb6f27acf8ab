import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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

/** Writes a Pod's hosts file into its directory and returns its path. */
export function writeHostsFile(directory: string, place: PodPlace): string {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const path = join(directory, 'hosts');
  writeFileSync(path, hostsText(place), { mode: 0o644 });
  return path;
}
