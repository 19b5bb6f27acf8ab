import { globSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** What every bench file exports: it prints its method and a table, and resolves with the figures for `--json`. */
export interface Bench {
  description: string;
  run(options: BenchOptions): Promise<Record<string, unknown>>;
}

/** Options shared by all benches. */
export interface BenchOptions {
  /** Also measure comparable proxies, where they are installed. */
  peers: boolean;
  /** Rounds or seconds where the bench has such a number. */
  rounds?: number;
}

const directory = dirname(fileURLToPath(import.meta.url));

async function main(commandLine: string[]): Promise<void> {
  const names = globSync('*.bench.ts', { cwd: directory })
    .map((file) => basename(file, '.bench.ts'))
    .sort();
  const [name, ...flags] = commandLine;
  const unknown = flags.find((flag) => !/^--(json|peers|rounds=\d+)$/.test(flag));
  if (name === undefined || !names.includes(name) || unknown !== undefined) {
    if (unknown !== undefined) console.error(`Unknown option ${unknown}.`);
    console.error('Usage: npm run bench -- <name> [--peers] [--rounds=N] [--json]\n');
    for (const each of names) console.error(`  ${each.padEnd(8)} ${(await load(each)).description}`);
    process.exitCode = 2;
    return;
  }
  const rounds = flags.find((flag) => flag.startsWith('--rounds='));
  const figures = await (await load(name)).run({
    peers: flags.includes('--peers'),
    ...(rounds === undefined ? {} : { rounds: Number(rounds.split('=')[1]) }),
  });
  if (flags.includes('--json')) console.log(JSON.stringify(figures));
}

async function load(name: string): Promise<Bench> {
  return (await import(pathToFileURL(join(directory, `${name}.bench.ts`)).href)) as Bench;
}

await main(process.argv.slice(2));
