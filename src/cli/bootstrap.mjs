// Runs on any Node >= 20, before dependencies exist: plain JavaScript, node: modules only.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Major version of Node.js that the program itself runs on; the launcher alone runs on older ones. */
export const REQUIRED_NODE_MAJOR = 24;

/**
 * What a router's Node is started with. Its young generation grew to 100 MB under load and kept them ever after; with 16 MB halves it has a third of that. It must be set before Node starts; the Dockerfile says the same.
 */
export const ROUTER_NODE_OPTIONS = ['--max-semi-space-size=16'];

/** Top of the checkout or of the installed package. */
export const projectRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/**
 * Installs the locked dependencies if this is a checkout whose node_modules is missing or out of date, with one progress line.
 * @throws {Error} with npm's own output when the installation fails
 */
export async function ensureDependencies() {
  const lockPath = join(projectRoot, 'package-lock.json');
  if (!existsSync(lockPath) || isInstalled(lockPath)) return;
  await withProgress('Installing dependencies (npm ci)', () =>
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], projectRoot),
  );
}

/** Path of a Node.js binary of the required major version: this process's own, else the npm package `node`. */
export function requiredNode() {
  if (Number(process.versions.node.split('.')[0]) >= REQUIRED_NODE_MAJOR) return process.execPath;
  const path = join(dirname(createRequire(import.meta.url).resolve('node/package.json')), 'bin', 'node');
  if (existsSync(path)) return path;
  throw new Error(
    `Node.js ${REQUIRED_NODE_MAJOR} is needed, this is ${process.version}, and the npm package "node" has no binary at ${path}.\n` +
      'Its install script may have been refused: run "npm rebuild node", or install Node.js 24 yourself.',
  );
}

/** @param {string} lockPath */
function isInstalled(lockPath) {
  const installedPath = join(projectRoot, 'node_modules', '.package-lock.json');
  if (!existsSync(installedPath)) return false;
  const wanted = JSON.parse(readFileSync(lockPath, 'utf8')).packages;
  const installed = JSON.parse(readFileSync(installedPath, 'utf8')).packages;
  return Object.entries(
    /** @type {Record<string, {version?: string, optional?: boolean, peer?: boolean}>} */ (wanted),
  ).every(([path, entry]) => path === '' || entry.optional || entry.peer || installed[path]?.version === entry.version);
}

/**
 * Runs a long task under one progress line on standard error: a running clock on a terminal, a line every 15 s elsewhere.
 * @template T
 * @param {string} title
 * @param {() => Promise<T>} task
 * @returns {Promise<T>}
 */
export async function withProgress(title, task) {
  const startedAt = Date.now();
  const seconds = () => `${Math.round((Date.now() - startedAt) / 1000)} s`;
  const interactive = process.stderr.isTTY;
  process.stderr.write(interactive ? `${title} …` : `${title} …\n`);
  const timer = interactive
    ? setInterval(() => process.stderr.write(`\r${title} … ${seconds()}`), 1000)
    : setInterval(() => process.stderr.write(`${title} … ${seconds()}\n`), 15_000);
  try {
    const result = await task();
    process.stderr.write(`${interactive ? '\r' : ''}${title}: done in ${seconds()}\n`);
    return result;
  } catch (error) {
    process.stderr.write(`${interactive ? '\r' : ''}${title}: failed after ${seconds()}\n`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 * @param {string} directory
 * @returns {Promise<void>}
 */
function run(command, commandArguments, directory) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, commandArguments, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
    child.on('error', (error) => reject(new Error(`Could not start ${command}: ${error.message}`)));
    child.on('close', (code) =>
      code === 0
        ? resolve()
        : reject(new Error(`${command} ${commandArguments.join(' ')} ended with code ${code}:\n${output}`)),
    );
  });
}
