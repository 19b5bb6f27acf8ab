import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runscOf } from '../test/support/runsc.ts';
import type { BenchOptions } from './run.ts';
import { type BareRestore, prepareBareRestore } from './support/bare-restore.ts';
import { untilQuiet } from './support/quiet.ts';
import { machine, median, percentile } from './support/statistics.ts';
import { startWakeEngine, type WakeEngine } from './support/wake-engine.ts';

export const description = 'wake of a paused gVisor sandbox through the router, against a bare "runsc restore"';

const COUNTER_PORT = 8080;
/** Quiet time before each measurement, so that neither side pays for what came before it. */
const SETTLE_MS = 200;
/** Longest wait for other programs to be quiet, too. */
const QUIET_MS = 2000;
/** Counters with snapshots of about 27 MB and 512 MB. */
const SIZES = [
  { name: '27MB', sandbox: 'counter', ballastMb: 0 },
  { name: '512MB', sandbox: 'large-counter', ballastMb: 480 },
] as const;

/** How a sandbox comes back. */
type Way = 'prepared' | 'unprepared' | 'bare';

/** One thing that is measured again and again. */
interface Contestant {
  size: (typeof SIZES)[number]['name'];
  way: Way;
  measure(): Promise<number>;
  /** What makes it ready for the next measurement. */
  reset(): Promise<unknown>;
  samples: number[];
}

/** Wakes through two routers, one whose engine keeps containers ready and one whose does not, and bare restores of copies of the same snapshots, in turn. */
export async function run({ rounds = 20, only }: BenchOptions): Promise<Record<string, unknown>> {
  const { sizes, ways } = selected(only);
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const manifests = join(directory, 'counters.json');
  writeFileSync(manifests, sizes.map((size) => JSON.stringify(counter(size))).join('\n---\n'));
  const engines: WakeEngine[] = [];
  const bares: BareRestore[] = [];
  const start = async (name: string, prepares: boolean): Promise<WakeEngine> => {
    mkdirSync(join(directory, name));
    const engine = await startWakeEngine({ directory: join(directory, name), manifests, prepares });
    engines.push(engine);
    return engine;
  };
  try {
    console.log(`Wake to first byte, ${rounds} rounds in turn, after ${SETTLE_MS} ms of quiet each, longer where others use the machine:
  prepared    GET through the router to a paused counter, until the first byte of the answer; a container waits for it (the default)
  unprepared  the same with --prepared-sandboxes 0
  bare        "runsc restore" of a copy of the same snapshot into a network made before: from starting runsc to the first byte
`);
    const byWay = new Map<Way, WakeEngine>();
    for (const way of ways) byWay.set(way, await start(way, way === 'prepared'));
    // The one without containers that wait, where it is there: its bundles are those of containers that run.
    const last = engines.at(-1);
    if (last === undefined) throw new Error('nothing is to be measured');
    const { path: runscPath, version } = await runscOf(last.binariesDirectory);
    const contestants: Contestant[] = [];
    for (const { name: size, sandbox } of sizes) {
      for (const [way, engine] of byWay) {
        await engine.request(sandbox);
        const measure = () => engine.request(sandbox);
        contestants.push({ size, way, measure, reset: () => engine.pause(sandbox), samples: [] });
      }
      const bundleConfigPath = join(directory, `${sandbox}.json`);
      last.keepConfig(sandbox, bundleConfigPath);
      let snapshotDirectory = '';
      for (const engine of engines) snapshotDirectory = await engine.pause(sandbox);
      const bare = prepareBareRestore({
        runscPath,
        platform: last.platform,
        directory: join(directory, `bare-${sandbox}`),
        bundleConfigPath,
        snapshotDirectory,
        port: COUNTER_PORT,
      });
      bares.push(bare);
      contestants.push({ size, way: 'bare', measure: bare.measure, reset: async () => {}, samples: [] });
    }
    for (let round = -1; round < rounds; round++) {
      for (const contestant of contestants) {
        await delay(SETTLE_MS);
        await untilQuiet(QUIET_MS);
        const elapsedMs = await contestant.measure();
        // The first round warms all of them up.
        if (round >= 0) contestant.samples.push(elapsedMs);
        await contestant.reset();
      }
      if (process.stdout.isTTY) process.stdout.write(`\r${round + 1}/${rounds}`);
    }
    return report(contestants, { rounds, runsc: version, platform: last.platform, machine: machine() });
  } finally {
    for (const engine of engines) await engine.close();
    for (const bare of bares) bare.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What `--only` leaves: `27MB`, `unprepared`, or several of these words with commas; a size is always compared with bare restores of it. */
function selected(only: string | undefined): { sizes: (typeof SIZES)[number][]; ways: Exclude<Way, 'bare'>[] } {
  const words = new Set(only?.split(','));
  const chosen = <Item>(items: readonly Item[], nameOf: (item: Item) => string): Item[] => {
    const found = items.filter((item) => words.delete(nameOf(item)));
    return found.length === 0 ? [...items] : found;
  };
  const sizes = chosen(SIZES, ({ name }) => name);
  const ways = chosen(['prepared', 'unprepared'] as const, (way) => way);
  if (words.size > 0)
    throw new Error(`--only=${only}: 27MB, 512MB, prepared and unprepared can be chosen, with commas`);
  return { sizes, ways };
}

function counter({ sandbox, ballastMb }: (typeof SIZES)[number]): unknown {
  const container = {
    name: 'counter',
    image: 'sandbox-router.local/toolbox',
    command: ['/opt/sandbox-router/agent/bin/sandbox-router-counter'],
    env: [{ name: 'COUNTER_BALLAST_MB', value: String(ballastMb) }],
    ports: [{ name: 'http', containerPort: COUNTER_PORT }],
  };
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { name: sandbox, namespace: 'default' },
    spec: {
      podTemplate: {
        metadata: { labels: { 'sandbox-router/egress': 'none' } },
        spec: { runtimeClassName: 'gvisor', terminationGracePeriodSeconds: 2, containers: [container] },
      },
    },
  };
}

/** Prints the table; `routerMs` is the wake of the small counter as users have it, without any setting. */
function report(contestants: Contestant[], circumstances: Record<string, unknown>): Record<string, unknown> {
  const samplesOf = (size: string, way: Way) =>
    contestants.find((contestant) => contestant.size === size && contestant.way === way)?.samples ?? [];
  const figuresOf = (size: string, way: Way) => {
    const samples = samplesOf(size, way);
    const bareMs = median(samplesOf(size, 'bare'));
    return {
      medianMs: round1(median(samples)),
      percentilesMs: percentiles(samples),
      ratio: Math.round((median(samples) / bareMs) * 1000) / 1000,
      p99OverBareMedianMs: round1(percentile(samples, 0.99) - bareMs),
    };
  };
  console.log('\n                    median      p10      p90      p99  to bare  p99 - bare');
  const sizes: Record<string, Record<string, ReturnType<typeof figuresOf>>> = {};
  for (const { size, way } of contestants) {
    const figures = figuresOf(size, way);
    sizes[size] = { ...sizes[size], [way]: figures };
    const { p10 = 0, p90 = 0, p99 = 0 } = figures.percentilesMs;
    const columns = [figures.medianMs, p10, p90, p99].map((value) => value.toFixed(1).padStart(9)).join('');
    const compared = `${figures.ratio.toFixed(3).padStart(9)}${figures.p99OverBareMedianMs.toFixed(1).padStart(12)}`;
    console.log(`${size.padStart(5)} ${way.padEnd(11)}${columns}${compared}`);
  }
  const { prepared: router, bare } = sizes['27MB'] ?? {};
  const small = router !== undefined &&
    bare !== undefined && {
      routerMs: router.medianMs,
      bareRestoreMs: bare.medianMs,
      ratio: router.ratio,
      routerPercentilesMs: router.percentilesMs,
      bareRestorePercentilesMs: bare.percentilesMs,
    };
  return { ...small, sizes, ...circumstances };
}

function percentiles(samples: number[]): Record<string, number> {
  return Object.fromEntries(
    [10, 50, 90, 95, 99].map((share) => [`p${share}`, round1(percentile(samples, share / 100))]),
  );
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}
