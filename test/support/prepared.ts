import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { engineTagOf } from '../../src/engine/runtime/index.ts';

/** Containers of an engine by what runsc says of them; `created` are those that wait to be restored into. */
export function containersOf(
  stateDirectory: string,
  status: 'created' | 'running',
): { id: string; hostname: string; pid: number }[] {
  const root = `/run/sandbox-router-${engineTagOf(join(stateDirectory, 'engine'))}`;
  const files = existsSync(root) ? readdirSync(root).filter((file) => file.endsWith('.state')) : [];
  return files.flatMap((file) => {
    try {
      const container = JSON.parse(readFileSync(join(root, file), 'utf8')) as {
        id: string;
        status: string;
        spec: { hostname: string };
        sandbox: { pid: number };
      };
      const { id, spec, sandbox } = container;
      return container.status === status ? [{ id, hostname: spec.hostname, pid: sandbox.pid }] : [];
    } catch {
      // It went while we looked, or is being written.
      return [];
    }
  });
}
