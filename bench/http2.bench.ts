import { connect, constants } from 'node:http2';
import type { BenchOptions } from './run.ts';
import { cpuTimeUs } from './support/processes.ts';
import { sample } from './support/sample.ts';
import { machine, median } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'small GETs over HTTP/2 (prior knowledge) against HTTP/1.1';

const STREAMS = 50;
const RUN_MS = 2000;

/** Sends requests on one connection of HTTP/2, and on as many of HTTP/1.1 as that has streams, in turn. */
export async function run({ rounds = 5 }: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld();
  try {
    const router = await world.startRouter();
    console.log(`One connection of HTTP/2 (node:http2) with ${STREAMS} requests at a time, against ${STREAMS} connections of HTTP/1.1. Router on core 0; load and sandbox on core 1.
Medians of ${rounds} rounds in turn, ${RUN_MS / 1000} s each.
`);
    const http2Cpu: number[] = [];
    const http1Cpu: number[] = [];
    const perSecond: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      const before = cpuTimeUs(router.process.pid);
      const answered = await loadByHttp2(router.origin, `${world.pathOf()}/`, world.headers);
      const cpuUs = (cpuTimeUs(router.process.pid) - before) / answered;
      const http1 = await sample(router, { path: '/', connections: STREAMS, seconds: RUN_MS / 1000 });
      // The first round warms up.
      if (round === 0) continue;
      http2Cpu.push(cpuUs);
      http1Cpu.push(http1.cpuPerRequestUs);
      perSecond.push((answered * 1000) / RUN_MS);
    }
    const tenths = (list: number[]) => Math.round(median(list) * 10) / 10;
    const figures = {
      cpuPerRequestUs: { http2: tenths(http2Cpu), http1: tenths(http1Cpu) },
      http2RequestsPerSecond: Math.round(median(perSecond)),
    };
    console.log(
      `CPU per request: ${figures.cpuPerRequestUs.http2} µs over HTTP/2, ${figures.cpuPerRequestUs.http1} µs over HTTP/1.1; ${figures.http2RequestsPerSecond} requests/s over HTTP/2`,
    );
    return { ...figures, rounds, machine: machine() };
  } finally {
    await world.close();
  }
}

/** Answers in the time of a run. @throws Error for any but a 200 */
async function loadByHttp2(origin: string, path: string, headers: Record<string, string>): Promise<number> {
  const session = connect(origin);
  const endMs = performance.now() + RUN_MS;
  let answered = 0;
  async function lane(): Promise<void> {
    while (performance.now() < endMs) {
      await new Promise<void>((resolve, reject) => {
        const stream = session.request({ [constants.HTTP2_HEADER_PATH]: path, ...headers });
        stream.on('response', ({ ':status': status }) => {
          if (status !== 200) reject(new Error(`status ${status}`));
        });
        stream.on('error', reject).on('end', resolve).resume();
      });
      answered++;
    }
  }
  await Promise.all(Array.from({ length: STREAMS }, lane));
  session.close();
  return answered;
}
