import { join } from 'node:path';
import { findRunsc } from '../../src/engine/runtime/index.ts';
import { projectRoot } from './checkout.ts';

/** The runsc that an engine of this checkout takes, and its version. `binariesDirectory` is `<state-dir>/bin`. */
export function runscOf(binariesDirectory: string): Promise<{ path: string; version: string }> {
  return findRunsc({
    binariesDirectory,
    moduleDirectory: join(projectRoot, 'deploy/toolchain/gvisor'),
    environment: process.env,
    progress: (_title, task) => task(),
  });
}
