import { readFileSync } from 'node:fs';
import { ConfigError } from '../config/index.ts';

/** The secret in a file, `-` for standard input: a command line is seen by everybody. @throws ConfigError */
export function tokenIn(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8').trim();
  } catch (error) {
    throw new ConfigError(`Can't read the token: ${(error as Error).message}`);
  }
}
