import type { Pod } from '../../../kubernetes/index.ts';
import { CLUSTER_DOMAIN } from '../../network/index.ts';

/** Most of each that resolvers take (resolv.conf(5)). */
const MOST_NAME_SERVERS = 3;
const MOST_SEARCHES = 32;

/** Settings of a Pod's resolver as its API has them. */
interface DnsConfig {
  nameservers?: string[];
  searches?: string[];
  options?: { name?: string; value?: string }[];
}

/**
 * The text of a Pod's /etc/resolv.conf by its dnsPolicy and dnsConfig, as a kubelet makes it. Every policy but `None` names the engine's DNS proxy: it asks the
 * machine's own servers for what the Pod may resolve.
 */
export function resolverText(pod: Pod, nameServer: string | undefined): string {
  const { dnsPolicy } = pod.spec;
  const config = (pod.spec.dnsConfig ?? {}) as DnsConfig;
  const ownConfig = dnsPolicy === 'None';
  const servers = [...(ownConfig || nameServer === undefined ? [] : [nameServer]), ...(config.nameservers ?? [])];
  const clusterNames = !ownConfig && dnsPolicy !== 'Default';
  const services = `svc.${CLUSTER_DOMAIN}`;
  const searches = [
    ...(clusterNames ? [`${pod.metadata.namespace}.${services}`, services, CLUSTER_DOMAIN] : []),
    ...(config.searches ?? []),
  ];
  const settings = new Map(clusterNames ? [['ndots', '5']] : []);
  for (const { name, value } of config.options ?? []) if (name !== undefined) settings.set(name, value ?? '');
  const settingWords = [...settings].map(([name, value]) => (value === '' ? name : `${name}:${value}`));
  return [
    ...servers.slice(0, MOST_NAME_SERVERS).map((server) => `nameserver ${line(server)}`),
    ...(searches.length === 0 ? [] : [`search ${searches.slice(0, MOST_SEARCHES).map(line).join(' ')}`]),
    ...(settingWords.length === 0 ? [] : [`options ${settingWords.map(line).join(' ')}`]),
    '',
  ].join('\n');
}

/** One word: what a Pod says must not become lines of its own. */
function line(word: string): string {
  return word.replace(/\s+/g, '');
}
