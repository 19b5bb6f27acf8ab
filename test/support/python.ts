import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** A Python with packages of its own. */
export interface PythonEnvironment {
  /** Runs a program to its end and resolves with its standard output. @throws Error with its standard error */
  run(script: string, commandLine: string[], environment: Record<string, string>): Promise<string>;
  close(): void;
}

/** Makes a virtual environment and installs packages from PyPI into it. @throws Error with pip's words */
export async function pythonEnvironment(packages: readonly string[]): Promise<PythonEnvironment> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-python-'));
  const python = join(directory, 'bin', 'python3');
  try {
    await execute('python3', ['-m', 'venv', directory]);
    await execute(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]);
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
  return {
    run: async (script, commandLine, environment) => {
      const { stdout } = await execute(python, [script, ...commandLine], {
        env: { ...process.env, ...environment },
        maxBuffer: 16 << 20,
      });
      return stdout;
    },
    close: () => rmSync(directory, { recursive: true, force: true }),
  };
}
