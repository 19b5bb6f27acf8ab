import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import autocannon from 'autocannon';

/** What one request asks for. */
export interface RequestTarget {
  path: string;
  headers: Record<string, string>;
}

/** Requests to send, over and over, on connections that stay open. */
export interface Load {
  /** `http://host:port` */
  origin: string;
  /** Taken in turn. */
  targets: readonly RequestTarget[];
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

async function sendByAutocannon({ origin, targets, connections, seconds, bodyBytes }: Load): Promise<LoadResult> {
  const body = bodyBytes === undefined ? {} : { method: 'POST' as const, body: Buffer.alloc(bodyBytes, 'x') };
  const requests = targets.map((target) => ({ ...target, ...body }));
  const result = await autocannon({ url: origin, requests, connections, duration: seconds });
  const answered = result['2xx'];
  if (answered === 0 || result.non2xx > 0 || result.errors > 0)
    throw new Error(`${answered} answers of status 2xx, ${result.non2xx} others and ${result.errors} errors`);
  return { answered, seconds: result.duration, p50Ms: result.latency.p50, p99Ms: result.latency.p99 };
}

async function sendByWrk({ origin, targets, connections, seconds, bodyBytes }: Load): Promise<LoadResult> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  try {
    const script = join(directory, 'load.lua');
    writeFileSync(script, wrkScript(targets, bodyBytes));
    const commandLine = ['--threads', '1', '--connections', `${connections}`, '--duration', `${seconds}`];
    const { stdout } = await run('wrk', [...commandLine, '--timeout', '60s', '--script', script, origin]);
    const said = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, number>;
    const { answered = 0, us = 0, p50 = 0, p99 = 0, errors = 0 } = said;
    if (answered === 0 || errors > 0) throw new Error(`${answered} answers and ${errors} errors:\n${stdout}`);
    return { answered, seconds: us / 1e6, p50Ms: p50 / 1000, p99Ms: p99 / 1000 };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Sends the targets in turn, and reports in microseconds: wrk's own summary rounds to what reads well. */
function wrkScript(targets: readonly RequestTarget[], bodyBytes: number | undefined): string {
  const quote = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`;
  const entries = targets.map(({ path, headers }) => {
    const fields = Object.entries(headers).map(([name, value]) => `[${quote(name)}]=${quote(value)}`);
    return `{${quote(path)},{${fields.join(',')}}}`;
  });
  return `
local targets = {${entries.join(',\n')}}
local made = {}
local at = 0
function init()
  local body = ${bodyBytes === undefined ? 'nil' : `string.rep("x", ${bodyBytes})`}
  for index, target in ipairs(targets) do
    made[index] = wrk.format(body and "POST" or "GET", target[1], target[2], body)
  end
end
function request()
  at = at % #made + 1
  return made[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"answered":%d,"us":%d,"p50":%d,"p99":%d,"errors":%d}\\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`;
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
