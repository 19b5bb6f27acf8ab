import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from './bootstrap.mjs';

const manifest = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as {
  version: string;
  description: string;
};

/** Version of this package. */
export const packageVersion = manifest.version;
/** One sentence on what the program does. */
export const packageDescription = manifest.description;
