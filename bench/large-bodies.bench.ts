import { once } from 'node:events';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { BenchOptions } from './run.ts';
import { cpuTimeUs, residentBytes } from './support/processes.ts';
import { machine } from './support/statistics.ts';
import { type BenchRouter, startWorld } from './support/world.ts';

export const description = 'a download and an upload of 4 GB: growth of memory';

const BODY_BYTES = 4 * 2 ** 30;
/** Sent before, so that buffers and compiled code are there. */
const WARM_UP_BYTES = 2 ** 28;
const WANTED_MB = 30;
const PIECE = Buffer.alloc(65_536, 'x');

/** Moves a large body each way, and looks at the router's memory ten times a second. */
export async function run(_options: BenchOptions): Promise<Record<string, unknown>> {
  const world = await startWorld();
  try {
    const router = await world.startRouter();
    console.log(`${BODY_BYTES / 2 ** 30} GiB each way after ${WARM_UP_BYTES / 2 ** 20} MiB; client and sandbox on core 1, router on core 0. Growth is the highest resident memory
during the transfer less that before it.\n`);
    const download = await watch(router, (bytes) => downloadBytes(router, bytes));
    const upload = await watch(router, (bytes) => uploadBytes(router, bytes));
    for (const [name, { growthMb, megabytesPerSecond, cpuSecondsPerGb }] of Object.entries({ download, upload }))
      console.log(
        `${name.padEnd(10)} ${growthMb} MB growth, ${megabytesPerSecond} MB/s, ${cpuSecondsPerGb} s of CPU for each GB`,
      );
    console.log(`wanted: at most ${WANTED_MB} MB`);
    return { download, upload, wantedMb: WANTED_MB, machine: machine() };
  } finally {
    await world.close();
  }
}

async function watch({ process: { pid } }: BenchRouter, move: (bytes: number) => Promise<void>) {
  await move(WARM_UP_BYTES);
  const before = residentBytes(pid);
  const cpuBefore = cpuTimeUs(pid);
  let highest = before;
  const timer = setInterval(() => {
    highest = Math.max(highest, residentBytes(pid));
  }, 100);
  const startedMs = performance.now();
  await move(BODY_BYTES);
  clearInterval(timer);
  return {
    growthMb: Math.round((highest - before) / 1e6),
    megabytesPerSecond: Math.round(BODY_BYTES / 1000 / (performance.now() - startedMs)),
    cpuSecondsPerGb: Math.round((cpuTimeUs(pid) - cpuBefore) / (BODY_BYTES / 1e9) / 1e4) / 100,
  };
}

async function downloadBytes({ url, headers }: BenchRouter, bytes: number): Promise<void> {
  const asked = request(`${url}/stream?n=${bytes}`, { headers }).end();
  const [answer] = await once(asked, 'response');
  let received = 0;
  for await (const chunk of answer) received += chunk.length;
  if (received !== bytes) throw new Error(`${received} bytes of ${bytes} came`);
}

async function uploadBytes({ url, headers }: BenchRouter, bytes: number): Promise<void> {
  const asked = request(`${url}/`, { method: 'POST', headers: { ...headers, 'content-length': bytes } });
  const answered = once(asked, 'response');
  let sent = 0;
  const body = new Readable({
    read() {
      this.push(sent < bytes ? PIECE : null);
      sent += PIECE.length;
    },
  });
  await pipeline(body, asked);
  const [answer] = await answered;
  const text = Buffer.concat(await answer.toArray()).toString();
  if ((JSON.parse(text) as { sizeBytes: number }).sizeBytes !== bytes) throw new Error(`the sandbox got ${text}`);
}
