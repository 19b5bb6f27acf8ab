import { send } from './load.ts';
import { cpuTimeUs, familyOf } from './processes.ts';
import { median } from './statistics.ts';
import type { Contender } from './world.ts';

/** What one run of load cost and brought. */
export interface Sample {
  /** User and system time of the process and its workers, by the kernel's accounting, for each answer. */
  cpuPerRequestUs: number;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
}

/** Load for every contender in the same way. */
export interface SampledLoad {
  /** Added to a contender's URL. */
  path: string;
  connections: number;
  seconds: number;
  bodyBytes?: number;
  /** Sent besides what the contender needs. */
  headers?: Record<string, string>;
}

/** By contender: medians of its samples, and of its CPU against the reference's in the same round. */
export type Medians = Record<string, Sample & { cpuToReference?: number }>;

/** Loads a contender and accounts for its CPU. @throws Error if anything but a 2xx came back */
export async function sample(contender: Contender, { path, headers, ...load }: SampledLoad): Promise<Sample> {
  const { name, url, process: measured } = contender;
  const { origin, pathname } = new URL(url);
  const targets = contender.targets ?? [{ path: pathname.replace(/\/$/, '') + path, headers: contender.headers }];
  const all = targets.map((target) => ({ ...target, headers: { ...target.headers, ...headers } }));
  try {
    const before = familyCpuUs(measured.pid);
    const { answered, seconds, p50Ms, p99Ms } = await send({ ...load, origin, targets: all });
    const cpuUs = familyCpuUs(measured.pid) - before;
    return { cpuPerRequestUs: cpuUs / answered, requestsPerSecond: answered / seconds, p50Ms, p99Ms };
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}\n${measured.output()}`);
  }
}

/** Warms every contender up, then loads them in turn, round after round: the machine is not the same from one minute to the next. */
export async function alternate(
  contenders: readonly Contender[],
  load: SampledLoad & { rounds: number; warmUpSeconds: number; reference: string },
): Promise<Medians> {
  const { rounds, warmUpSeconds, reference, ...each } = load;
  for (const contender of contenders) await sample(contender, { ...each, seconds: warmUpSeconds });
  const byRound: Record<string, Sample>[] = [];
  for (let round = 0; round < rounds; round++) {
    const samples: Record<string, Sample> = {};
    for (const contender of contenders) samples[contender.name] = await sample(contender, each);
    byRound.push(samples);
  }
  return Object.fromEntries(
    contenders.map(({ name }) => {
      const own = byRound.map((samples) => samples[name] as Sample);
      const ratios = byRound.flatMap((samples, round) => {
        const compared = samples[reference];
        return compared === undefined ? [] : [(own[round] as Sample).cpuPerRequestUs / compared.cpuPerRequestUs];
      });
      return [name, { ...middle(own), ...(ratios.length === 0 ? {} : { cpuToReference: hundredths(median(ratios)) }) }];
    }),
  );
}

function familyCpuUs(pid: number): number {
  return familyOf(pid).reduce((sum, each) => sum + cpuTimeUs(each), 0);
}

/** Medians, field by field. */
export function middle(samples: readonly Sample[]): Sample {
  const of = (field: keyof Sample) => hundredths(median(samples.map((each) => each[field])));
  return {
    cpuPerRequestUs: of('cpuPerRequestUs'),
    requestsPerSecond: of('requestsPerSecond'),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
  };
}

/** Medians as text. */
export function sampleTable(title: string, byName: Medians, reference: string): string {
  const lines = Object.entries(byName).map(([name, figures]) => {
    const { cpuPerRequestUs, requestsPerSecond, p50Ms, p99Ms, cpuToReference } = figures;
    const ratio = cpuToReference === undefined ? '' : `${cpuToReference.toFixed(2)} ×`;
    const shown = [cpuPerRequestUs.toFixed(1), requestsPerSecond.toFixed(0), p50Ms.toFixed(2), p99Ms.toFixed(2), ratio];
    return `${name.padEnd(26)}${shown.map((figure) => figure.padStart(16)).join('')}`;
  });
  const compared = Object.values(byName).some(({ cpuToReference }) => cpuToReference !== undefined);
  const head = ['CPU µs/request', 'requests/s', 'p50 ms', 'p99 ms', compared ? `CPU to ${reference}` : ''];
  return `${title.padEnd(26)}${head.map((column) => column.padStart(16)).join('')}\n${lines.join('\n')}\n`;
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100;
}
