import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepareTools } from './support/tools.ts';

const projectRoot = dirname(dirname(fileURLToPath(import.meta.url)));

/** Suites in the order in which they run: the quick ones first, those that share the machine's network one file at a time. */
const suites = [
  { name: 'unit', pattern: 'test/unit/**/*.test.ts', concurrency: 2 },
  { name: 'integration', pattern: 'test/integration/**/*.test.ts', concurrency: 2 },
  { name: 'e2e', pattern: 'test/e2e/**/*.test.ts', concurrency: 1 },
];

/** `npm test [-- unit|integration|e2e|<part of a path> …]`; everything without arguments. Exit code 1 if any test failed. */
async function main(filters: string[]): Promise<void> {
  await prepareTools(['runsc', 'etcd', 'kube-apiserver', 'kubectl', 'helm']);
  const timings: string[] = [];
  let passed = 0;
  let failed = 0;
  for (const suite of suites) {
    const files = globSync(suite.pattern, { cwd: projectRoot }).filter(
      (file) => filters.length === 0 || filters.some((part) => file.includes(part)),
    );
    if (files.length === 0) continue;
    const startedAt = performance.now();
    const counts = await runFiles(files.sort(), suite.concurrency);
    passed += counts.passed;
    failed += counts.failed;
    timings.push(
      `${suite.name}: ${files.length} files, ${counts.passed} passed, ${counts.failed} failed, ${((performance.now() - startedAt) / 1000).toFixed(0)} s`,
    );
  }
  console.log(`\n${timings.join('\n')}\n${passed} passed, ${failed} failed`);
  if (failed > 0 || passed === 0) process.exitCode = 1;
}

function runFiles(files: string[], concurrency: number): Promise<{ passed: number; failed: number }> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      [
        '--test',
        `--test-concurrency=${concurrency}`,
        '--test-reporter=spec',
        ...files.map((file) => relative(process.cwd(), join(projectRoot, file))),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let tail = '';
    child.stdout.on('data', (chunk: Buffer) => {
      process.stdout.write(chunk);
      tail = (tail + chunk.toString()).slice(-200_000);
    });
    child.on('error', reject);
    child.on('close', (code) => {
      const total = (name: string) =>
        Number([...tail.matchAll(new RegExp(`^ℹ ${name} (\\d+)$`, 'gm'))].at(-1)?.[1] ?? 0);
      const counted = total('fail') + total('cancelled');
      resolve({ passed: total('pass'), failed: code === 0 ? counted : Math.max(1, counted) });
    });
  });
}

await main(process.argv.slice(2));
