import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Top of the checkout that the tests belong to. */
export const projectRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** A copy of the files that git knows or would add, in a new temporary directory: a clean clone that also has uncommitted work. */
export function cleanClone(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-clone-'));
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: projectRoot,
    encoding: 'utf8',
  }).split('\0');
  for (const file of files.filter((name) => name !== '')) {
    mkdirSync(dirname(join(directory, file)), { recursive: true });
    cpSync(join(projectRoot, file), join(directory, file));
  }
  return directory;
}
