import type { Check } from '../check.ts';
import type { Facts } from '../facts.ts';
import { failure, ok, skipped, type Verdict, warning } from '../finding.ts';

const INSTALL = 'Install Agent Sandbox (https://agent-sandbox.sigs.k8s.io), or the managed add-on of GKE.';

/** Which versions of the APIs the server speaks. */
export const versions: Check = {
  id: 'versions',
  title: 'the APIs of Agent Sandbox are served in a current version',
  needs: [],
  judge: judgeVersions,
};

/** Sandboxes are indispensable; claims and pools are served beside them or not at all. */
export function judgeVersions({ served, server }: Facts): Verdict[] {
  if (served === undefined)
    return [
      skipped(
        'The right to read the list of APIs is missing.',
        'Bind the ClusterRole system:discovery to whoever runs doctor.',
      ),
    ];
  const group = { kind: 'API group', name: 'agents.x-k8s.io' };
  if (served.sandboxes.length === 0)
    return [failure(group, 'No version of Sandbox is served: there is nothing to route to.', INSTALL)];
  const outdated = [
    { name: group.name, versions: served.sandboxes },
    { name: 'extensions.agents.x-k8s.io', versions: served.extensions },
  ].filter(({ versions: all }) => all.length > 0 && !all.includes('v1beta1'));
  if (outdated.length > 0)
    return outdated.map(({ name, versions: all }) =>
      warning(
        { kind: 'API group', name },
        `Only ${all.join(' and ')} is served, which is deprecated.`,
        `Upgrade Agent Sandbox to a release that serves ${name}/v1beta1.`,
      ),
    );
  const others = [
    ['extensions.agents.x-k8s.io', served.extensions],
    ['podsnapshot.gke.io', served.podSnapshots],
    ['sandbox.gke.io', served.gkeSandboxes],
  ] as const;
  const said = others.map(([name, all]) => `${name} ${all.length === 0 ? 'not at all' : all.join(', ')}`);
  const platform = server.version === undefined ? '' : ` by Kubernetes ${server.version}`;
  return [ok(`agents.x-k8s.io is served as ${served.sandboxes.join(', ')}${platform}; ${said.join('; ')}.`)];
}
