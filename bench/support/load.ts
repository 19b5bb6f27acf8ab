import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import autocannon from 'autocannon';

/** Requests to send, over and over, on connections that stay open. */
export interface Load {
  url: string;
  headers: Record<string, string>;
  connections: number;
  seconds: number;
  /** Sent as the body of a POST; without it the requests are GETs. */
  bodyBytes?: number;
}

/** What became of a load. Every answer had a status of 2xx. */
export interface LoadResult {
  answered: number;
  seconds: number;
  p50Ms: number;
  p99Ms: number;
}

const run = promisify(execFile);
const wrk = isInstalled('wrk');

/** The generator in use: wrk where it is installed, as one core of autocannon can't keep a fast proxy busy; else autocannon. */
export const generator = wrk ? 'wrk' : 'autocannon';

/** Sends a load as fast as it is answered. @throws Error if anything but a 2xx came back */
export function send(load: Load): Promise<LoadResult> {
  return wrk ? sendByWrk(load) : sendByAutocannon(load);
}

async function sendByAutocannon({ url, headers, connections, seconds, bodyBytes }: Load): Promise<LoadResult> {
  const body = bodyBytes === undefined ? {} : { method: 'POST' as const, body: Buffer.alloc(bodyBytes, 'x') };
  const result = await autocannon({ url, headers, connections, duration: seconds, ...body });
  const answered = result['2xx'];
  if (answered === 0 || result.non2xx > 0 || result.errors > 0)
    throw new Error(`${answered} answers of status 2xx, ${result.non2xx} others and ${result.errors} errors`);
  return { answered, seconds: result.duration, p50Ms: result.latency.p50, p99Ms: result.latency.p99 };
}

async function sendByWrk({ url, headers, connections, seconds, bodyBytes }: Load): Promise<LoadResult> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  try {
    const script = join(directory, 'report.lua');
    // Microseconds; wrk's own summary rounds to what reads well.
    writeFileSync(
      script,
      `${bodyBytes === undefined ? '' : `wrk.method = "POST"\nwrk.body = string.rep("x", ${bodyBytes})\n`}
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"answered":%d,"us":%d,"p50":%d,"p99":%d,"errors":%d}\\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`,
    );
    const fields = Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`]);
    const commandLine = [
      '--threads',
      '1',
      '--connections',
      `${connections}`,
      '--duration',
      `${seconds}`,
      '--timeout',
      '60s',
    ];
    const { stdout } = await run('wrk', [...commandLine, ...fields, '--script', script, url]);
    const said = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, number>;
    const { answered = 0, us = 0, p50 = 0, p99 = 0, errors = 0 } = said;
    if (answered === 0 || errors > 0) throw new Error(`${answered} answers and ${errors} errors:\n${stdout}`);
    return { answered, seconds: us / 1e6, p50Ms: p50 / 1000, p99Ms: p99 / 1000 };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Whether a command is on the PATH. */
export function isInstalled(command: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$0"', command]);
    return true;
  } catch {
    return false;
  }
}
