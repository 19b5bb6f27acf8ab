import { join } from 'node:path';
import { withProgress } from '../../src/cli/bootstrap.mjs';
import { ensureGoTool, runscTool, toolCacheDirectory } from '../../src/engine/runtime/index.ts';
import { projectRoot } from './checkout.ts';

/** Go programs that tests run, as the project pins them: the engine's runsc, and a real API server with its store. */
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
];

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
