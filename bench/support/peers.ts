import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { type Measured, startMeasured } from './processes.ts';

/** A proxy to compare with: one worker, keep-alive on both sides, no access log. */
export interface Peer {
  name: string;
  version: string;
  port: number;
  process: Measured;
}

/** Starts every peer that this machine has in front of one upstream. Missing ones are named on standard error. */
export async function startPeers(upstreamPort: number): Promise<Peer[]> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const peers: Peer[] = [];
  const library = await freePort();
  const script = join(dirname(fileURLToPath(import.meta.url)), 'peer-http-proxy-3.ts');
  peers.push({
    name: 'http-proxy-3',
    version: process.version,
    port: library,
    process: await startMeasured(
      process.execPath,
      [script, String(library), `http://127.0.0.1:${upstreamPort}`],
      library,
    ),
  });
  for (const [name, versionFlag, configure] of [
    ['haproxy', '-v', haproxy],
    ['nginx', '-v', nginx],
  ] as const) {
    const version = versionOf(name, versionFlag);
    if (version === undefined) {
      console.error(`${name} is not installed: left out.`);
      continue;
    }
    const port = await freePort();
    const path = join(directory, `${name}.conf`);
    const { text, commandLine } = configure(port, upstreamPort, directory);
    writeFileSync(path, text);
    peers.push({ name, version, port, process: await startMeasured(name, [...commandLine, path], port) });
  }
  return peers;
}

function versionOf(command: string, flag: string): string | undefined {
  try {
    const output = execFileSync('sh', ['-c', `${command} ${flag} 2>&1`], { encoding: 'utf8' });
    return /(\d+\.\d+\.\d+)/.exec(output)?.[1];
  } catch {
    return undefined;
  }
}

function haproxy(port: number, upstreamPort: number) {
  const text = `global
  nbthread 1
  maxconn 4000
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:${port}
  default_backend sandbox
backend sandbox
  server one 127.0.0.1:${upstreamPort}
`;
  return { text, commandLine: ['-db', '-f'] };
}

function nginx(port: number, upstreamPort: number, directory: string) {
  const text = `daemon off;
master_process off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/nginx.log;
events { worker_connections 20000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  upstream sandbox { server 127.0.0.1:${upstreamPort}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://sandbox; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
  }
}
`;
  return { text, commandLine: ['-c'] };
}
