import { globSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { driftTable, readFigures } from './support/drift.ts';

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
  /** The one scenario to run, where the bench has several. */
  only?: string;
}

const directory = dirname(fileURLToPath(import.meta.url));
const USAGE = `Usage: npm run bench -- <name> [--peers] [--rounds=N] [--only=SCENARIO] [--json] [--compare=old.json]

--json      the last line is one object
--compare   also print how far figures have moved since that output of --json
`;

async function main(commandLine: string[]): Promise<void> {
  const names = globSync('*.bench.ts', { cwd: directory })
    .map((file) => basename(file, '.bench.ts'))
    .sort();
  const usage = async (problem?: string) => {
    if (problem !== undefined) console.error(problem);
    console.error(USAGE);
    for (const each of names) console.error(`  ${each.padEnd(16)} ${(await load(each)).description}`);
    process.exitCode = 2;
  };
  let asked: ReturnType<typeof parse>;
  try {
    asked = parse(commandLine);
  } catch (error) {
    return usage((error as Error).message);
  }
  const { values, positionals } = asked;
  const [name] = positionals;
  if (name === undefined || positionals.length > 1 || !names.includes(name))
    return usage(name === undefined ? undefined : `There is no bench ${positionals.join(' ')}.`);
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0))
    return usage(`--rounds is a whole number above 0, not ${values.rounds}.`);
  // Read first: a wrong file should not be found out after minutes.
  const old = values.compare === undefined ? undefined : readFigures(values.compare, name);
  const figures = {
    bench: name,
    ...(await (
      await load(name)
    ).run({
      peers: values.peers === true,
      ...(rounds === undefined ? {} : { rounds }),
      ...(values.only === undefined ? {} : { only: values.only }),
    })),
  };
  if (old !== undefined) console.log(driftTable(old, figures));
  if (values.json === true) console.log(JSON.stringify(figures));
}

function parse(commandLine: string[]) {
  return parseArgs({
    args: commandLine,
    allowPositionals: true,
    options: {
      peers: { type: 'boolean' },
      json: { type: 'boolean' },
      rounds: { type: 'string' },
      only: { type: 'string' },
      compare: { type: 'string' },
    },
  });
}

async function load(name: string): Promise<Bench> {
  return (await import(pathToFileURL(join(directory, `${name}.bench.ts`)).href)) as Bench;
}

await main(process.argv.slice(2));
