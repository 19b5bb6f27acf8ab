import { readFileSync } from 'node:fs';

/** Figures of one run of a bench, as `--json` prints them. */
export type Figures = Record<string, unknown>;

/**
 * Figures of an earlier run: the last line of the file, so that a whole output will do.
 * @throws Error if it has none, or those of another bench
 */
export function readFigures(path: string, bench: string): Figures {
  const line = readFileSync(path, 'utf8').trimEnd().split('\n').at(-1) ?? '';
  let figures: unknown;
  try {
    figures = JSON.parse(line);
  } catch {
    figures = undefined;
  }
  if (typeof figures !== 'object' || figures === null)
    throw new Error(`${path}: its last line is no object; --compare takes what --json printed.`);
  const { bench: of } = figures as Figures;
  if (of !== bench) throw new Error(`${path}: these are figures of the bench ${of}, not of ${bench}.`);
  return figures as Figures;
}

/** How far each figure that both runs have has moved, with a note where they are of different machines or versions. */
export function driftTable(old: Figures, now: Figures): string {
  const before = new Map(numbersIn(old));
  const rows = numbersIn(now).flatMap(([name, value]) => {
    const was = before.get(name);
    if (was === undefined) return [];
    const moved = was === 0 ? '' : `${value >= was ? '+' : ''}${((value / was - 1) * 100).toFixed(1)} %`;
    return [`${name.padEnd(62)}${[`${was}`, `${value}`, moved].map((text) => text.padStart(14)).join('')}`];
  });
  const differing = ['machine', 'versions', 'generator'].filter(
    (key) => JSON.stringify(old[key]) !== JSON.stringify(now[key]),
  );
  const head = `${'figure'.padEnd(62)}${['before', 'now', 'drift'].map((text) => text.padStart(14)).join('')}`;
  const notes = differing.map((key) => `Note: ${key} differs: ${JSON.stringify(old[key])} before.`);
  return [head, ...rows, ...notes, ''].join('\n');
}

/** Every number in the figures by its path; what describes the run, and lists, which have no path that tells anything, are left out. */
function numbersIn(figures: Figures, path = ''): [string, number][] {
  return Object.entries(figures).flatMap(([key, value]): [string, number][] => {
    if (path === '' && (key === 'machine' || key === 'versions' || key === 'rounds' || key.startsWith('wanted')))
      return [];
    const name = path === '' ? key : `${path} / ${key}`;
    if (typeof value === 'number') return [[name, value]];
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? numbersIn(value as Figures, name)
      : [];
  });
}
