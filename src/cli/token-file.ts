import { readFileSync } from 'node:fs';
import { ConfigError } from '../config/index.ts';

/** The secret in a file, `-` for standard input: a command line is seen by everybody. @throws ConfigError */
export function tokenIn(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8').trim();
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    // Who gave the token itself must not find it in a log: no token has a slash.
    const where = file.includes('/') ? ` in ${file}` : '';
    throw new ConfigError(
      `Can't read the token${where} (${code}): name a file that holds it, or - for standard input.`,
    );
  }
}
