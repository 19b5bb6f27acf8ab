import { execFile } from 'node:child_process';
import { cpSync, globSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** One stage of a Dockerfile, carried out in a directory instead of an image. */
export interface Stage {
  /** What stands for the root of its file system. */
  root: string;
  workingDirectory: string;
  environment: Record<string, string>;
  user: string;
  entrypoint: string[];
  command: string[];
}

/**
 * Carries out a Dockerfile's COPY, RUN, WORKDIR and ENV in directories below `target`, with this machine's programs in place of the base images'; the last
 * stage is what comes out. Stands in for a builder where there is none: that files are there, and that the commands work with just them, shows here too.
 * @throws Error for an instruction that it does not know, a file that .dockerignore keeps out, and a command that fails
 */
export async function carryOut(context: string, target: string): Promise<Stage> {
  const sent = sentFiles(context);
  const stages = new Map<string, Stage>();
  let stage: Stage | undefined;
  for (const [instruction, rest] of instructionsOf(readFileSync(join(context, 'Dockerfile'), 'utf8'))) {
    if (instruction === 'ARG') continue;
    if (instruction === 'FROM') {
      const name = /\sAS\s+(\S+)$/i.exec(rest)?.[1] ?? 'last';
      const root = join(target, name);
      mkdirSync(root, { recursive: true });
      stage = { root, workingDirectory: root, environment: {}, user: 'root', entrypoint: [], command: [] };
      stages.set(name, stage);
      continue;
    }
    if (stage === undefined) throw new Error(`${instruction} stands before the first FROM`);
    if (instruction === 'WORKDIR') {
      stage.workingDirectory = join(stage.root, rest);
      mkdirSync(stage.workingDirectory, { recursive: true });
    } else if (instruction === 'ENV') {
      const [name = '', value = ''] = rest.split('=');
      stage.environment[name] = value;
    } else if (instruction === 'USER') stage.user = rest;
    else if (instruction === 'ENTRYPOINT') stage.entrypoint = JSON.parse(rest) as string[];
    else if (instruction === 'CMD') stage.command = JSON.parse(rest) as string[];
    else if (instruction === 'COPY') copy(rest, stage, stages, context, sent);
    else if (instruction === 'RUN')
      await execute('sh', ['-ec', rest], {
        cwd: stage.workingDirectory,
        env: { ...process.env, ...stage.environment },
        maxBuffer: 64 << 20,
      });
    else if (instruction !== 'EXPOSE') throw new Error(`${instruction} is not known here`);
  }
  if (stage === undefined) throw new Error('the Dockerfile has no FROM');
  return stage;
}

function copy(
  rest: string,
  stage: Stage,
  stages: Map<string, Stage>,
  context: string,
  sent: ReadonlySet<string>,
): void {
  const [, from, list = ''] = /^(?:--from=(\S+)\s+)?(.+)$/.exec(rest) ?? [];
  const words = list.split(/\s+/);
  const destination = resolve(stage.workingDirectory, words.at(-1) ?? '');
  for (const source of words.slice(0, -1)) {
    const intoDirectory = words.at(-1)?.endsWith('/') === true;
    const to = intoDirectory ? join(destination, basename(source)) : destination;
    if (from !== undefined) {
      const other = stages.get(from);
      if (other === undefined) throw new Error(`there is no stage ${from}`);
      cpSync(join(other.root, source), to, { recursive: true, verbatimSymlinks: true });
      continue;
    }
    const files = [...sent].filter((file) => file === source || file.startsWith(`${source}/`));
    if (files.length === 0) throw new Error(`.dockerignore keeps ${source} from the builder, or it does not exist`);
    for (const file of files) cpSync(join(context, file), join(to, relative(source, file)));
  }
}

/** Files of the context, less what .dockerignore leaves out; of its syntax, what names whole entries: `*`, `name` and `!name`. */
function sentFiles(context: string): ReadonlySet<string> {
  const rules = readFileSync(join(context, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const [all, ...kept] = rules;
  if (all !== '*' || !kept.every((rule) => /^![\w.-]+$/.test(rule)))
    throw new Error('.dockerignore is expected to leave out everything, and then to name what is kept');
  const files = kept
    .map((rule) => rule.slice(1))
    .flatMap((name) => globSync([name, `${name}/**/*`], { cwd: context, withFileTypes: true }));
  return new Set(
    files.filter((entry) => entry.isFile()).map((entry) => relative(context, join(entry.parentPath, entry.name))),
  );
}

function instructionsOf(text: string): [instruction: string, rest: string][] {
  return text
    .replace(/\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, instruction = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
      return [instruction.toUpperCase(), rest.trim()];
    });
}
