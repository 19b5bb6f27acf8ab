#!/usr/bin/env node
// The entry point on whatever Node the machine has: installs what is missing, then hands over to the required Node.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensureDependencies, projectRoot, requiredNode } from './bootstrap.mjs';

/** `--script <file>` runs a file of the checkout (tests, benches) the same way as the program itself. @param {string[]} commandLine */
function entryPoint(commandLine) {
  if (commandLine[0] === '--script') return [join(projectRoot, commandLine[1] ?? ''), ...commandLine.slice(2)];
  const source = join(projectRoot, 'src', 'cli', 'main.ts');
  return [existsSync(source) ? source : join(projectRoot, 'dist', 'cli', 'main.js'), ...commandLine];
}

/** @param {string} node @param {string[]} commandLine */
function handOver(node, commandLine) {
  const child = spawn(node, commandLine, { stdio: 'inherit' });
  // A terminal sends Ctrl-C to the child as well: wait for its own orderly end. Other signals reach only us, so pass them on.
  process.on('SIGINT', () => {});
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`Could not start ${node}: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    if (signal !== null) {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    } else process.exitCode = code ?? 1;
  });
}

try {
  await ensureDependencies();
  handOver(requiredNode(), entryPoint(process.argv.slice(2)));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
