import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { withProgress } from '../../src/cli/bootstrap.mjs';
import { cachedToolPath, ensureGoTool, runscTool, toolCacheDirectory } from '../../src/engine/runtime/index.ts';
import { projectRoot } from './checkout.ts';

/** Go programs that tests run, as the project pins them: the engine's runsc, a real API server with its store, kubectl and Helm. */
const TOOLS = [
  runscTool(join(projectRoot, 'deploy/toolchain/gvisor')),
  {
    name: 'etcd',
    moduleDirectory: join(projectRoot, 'deploy/toolchain/kubernetes'),
    package: 'go.etcd.io/etcd/server/v3',
  },
  {
    name: 'kube-apiserver',
    moduleDirectory: join(projectRoot, 'deploy/toolchain/kubernetes'),
    package: 'k8s.io/kubernetes/cmd/kube-apiserver',
  },
  {
    name: 'kubectl',
    moduleDirectory: join(projectRoot, 'deploy/toolchain/kubernetes'),
    package: 'k8s.io/kubernetes/cmd/kubectl',
    linkerFlags: stampedVersion('v1.34.1'),
  },
  {
    name: 'helm',
    moduleDirectory: join(projectRoot, 'deploy/toolchain/helm'),
    package: 'helm.sh/helm/v3/cmd/helm',
  },
];

/** What Kubernetes' own Makefile tells its programs of their version: without it they call themselves v0.0.0-master. */
function stampedVersion(version: string): string {
  const [major = '', minor = ''] = version.slice(1).split('.');
  const facts = { gitVersion: version, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' };
  return ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version']
    .flatMap((holder) => Object.entries(facts).map(([name, value]) => `-X ${holder}.${name}=${value}`))
    .join(' ');
}

/** Builds what is missing, into the cache that all runs share. With CI=true a tool that can't be had is a failure; elsewhere it is said, and its tests skip. */
export async function prepareTools(names: readonly string[]): Promise<void> {
  for (const tool of TOOLS.filter(({ name }) => names.includes(name))) {
    try {
      await ensureGoTool(tool, toolCacheDirectory(process.env), withProgress);
    } catch (error) {
      if (process.env.CI === 'true') throw error;
      console.error(`Without ${tool.name}: ${(error as Error).message}`);
    }
  }
}

/** Path of a tool that {@link prepareTools} made. */
export function toolPath(name: string): string {
  const tool = TOOLS.find((candidate) => candidate.name === name);
  if (tool === undefined) throw new Error(`${name} is none of the tools.`);
  return cachedToolPath(tool, toolCacheDirectory(process.env));
}

/** Why tests with these tools can't run here, or false; never with CI=true, where they must. For the `skip` option of a suite. */
export function missingTool(...names: string[]): string | false {
  if (process.env.CI === 'true') return false;
  const missing = names.filter((name) => !existsSync(toolPath(name)));
  return missing.length > 0 && `${missing.join(' and ')} could not be built here: npm test says why`;
}
