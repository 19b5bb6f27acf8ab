#!/usr/bin/env node
// The entry point on whatever Node the machine has: installs what is missing, then hands over to the required Node.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ensureDependencies, projectRoot, ROUTER_NODE_OPTIONS, requiredNode } from './bootstrap.mjs';

/** `--script <file>` runs a file of the checkout (tests, benches) the same way as the program itself. @param {string[]} commandLine */
function entryPoint(commandLine) {
  if (commandLine[0] === '--script') return [join(projectRoot, commandLine[1] ?? ''), ...commandLine.slice(2)];
  const source = join(projectRoot, 'src', 'cli', 'main.ts');
  return [existsSync(source) ? source : join(projectRoot, 'dist', 'cli', 'main.js'), ...commandLine];
}

/** Whether a command runs an engine, which shall leave the machine's memory to its sandboxes. @param {string | undefined} command */
function runsEngine(command) {
  return command === 'up' || command === 'engine';
}

/**
 * Much of what an engine with 2,000 sandboxes held was room for garbage, young and old, heaps of single threads, and holes in them: with a fixed bound, large
 * buffers lie beside the heap and are given back when they are done with. A smaller young generation takes a third more CPU for each claim. The old one is
 * collected when it has grown by 40 % instead of doubled, which costs claims nothing that could be measured since caches have no copies of their own.
 */
const SMALL_HEAP = ['--max-semi-space-size=8', '--heap-growing-percent=40'];
const SPARING_MALLOC = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '131072' };

/** Where compiled sources are kept: the next start takes half of the time. Not for tests: coverage counts only what is compiled anew. */
function compileCache() {
  const directory = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'sandbox-router', 'compiled');
  return { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? directory };
}

/** @param {string} node @param {string[]} commandLine @param {Record<string, string>} environment */
function handOver(node, commandLine, environment) {
  const child = spawn(node, commandLine, { stdio: 'inherit', env: { ...process.env, ...environment } });
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
  const commandLine = process.argv.slice(2);
  const isScript = commandLine[0] === '--script';
  const small = runsEngine(commandLine[0]);
  const heap = small ? SMALL_HEAP : commandLine[0] === 'serve' ? ROUTER_NODE_OPTIONS : [];
  handOver(requiredNode(), [...heap, ...entryPoint(commandLine)], {
    ...(isScript ? {} : compileCache()),
    ...(small ? SPARING_MALLOC : {}),
  });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
