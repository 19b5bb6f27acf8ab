import { readFileSync, watchFile } from 'node:fs';
import { ConfigError } from '../config/index.ts';
import { report } from './report.ts';

/** How often files are looked at. */
const WATCH_INTERVAL_MS = 1000;

/** What a file says, read again when it changes; what can't be read leaves the earlier in force. @throws ConfigError at first */
export function followFile<Value>(path: string, parse: (bytes: Buffer) => Value, changed: () => void): () => Value {
  const read = () => {
    try {
      return parse(readFileSync(path));
    } catch (error) {
      throw new ConfigError(`${path}: ${(error as Error).message}`);
    }
  };
  let value = read();
  watchFile(path, { interval: WATCH_INTERVAL_MS, persistent: false }, () => {
    try {
      value = read();
      changed();
    } catch (error) {
      report('a changed file is refused, what it said before stays', error);
    }
  });
  return () => value;
}
