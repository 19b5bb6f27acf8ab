import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { projectRoot } from '../../test/support/checkout.ts';
import { freePort } from '../../test/support/free-port.ts';
import { onCore, startMeasured } from './processes.ts';
import type { Contender, World } from './world.ts';

/** How a peer is started in front of one upstream, with one worker and no access log. */
interface PeerStart {
  name: string;
  /** Undefined where it is not installed. */
  version: string | undefined;
  command: string;
  commandLine(port: number, upstreamPort: number, directory: string): string[];
}

const support = dirname(fileURLToPath(import.meta.url));

const PEERS: PeerStart[] = [
  ...(['haproxy', 'nginx'] as const).map((name) => ({
    name,
    version: versionOf(name),
    command: name,
    commandLine: name === 'haproxy' ? haproxy : nginx,
  })),
  {
    name: 'http-proxy-3',
    version: packageVersion('http-proxy-3'),
    command: process.execPath,
    commandLine: (port, upstreamPort) => script('peer-http-proxy-3.ts', port, upstreamPort),
  },
  {
    name: 'http-proxy-3, keep-alive',
    version: packageVersion('http-proxy-3'),
    command: process.execPath,
    commandLine: (port, upstreamPort) => [...script('peer-http-proxy-3.ts', port, upstreamPort), 'keep-alive'],
  },
  {
    name: '@fastify/http-proxy',
    version: packageVersion('@fastify/http-proxy'),
    command: process.execPath,
    commandLine: (port, upstreamPort) => script('peer-fastify-http-proxy.ts', port, upstreamPort),
  },
  {
    name: 'configurable-http-proxy',
    version: packageVersion('configurable-http-proxy'),
    command: process.execPath,
    commandLine: (port, upstreamPort) => [
      join(projectRoot, 'node_modules/configurable-http-proxy/bin/configurable-http-proxy'),
      ...['--ip', '127.0.0.1', '--port', String(port), '--api-ip', '127.0.0.1', '--api-port', String(port + 1)],
      ...['--default-target', `http://127.0.0.1:${upstreamPort}`, '--log-level', 'error'],
    ],
  },
];

/** Starts every peer that this machine has, or those of the names, on core 0 in front of the world's upstream. Missing ones are named on standard error. */
export async function startPeers(world: World, names?: readonly string[]): Promise<Contender[]> {
  const peers: Contender[] = [];
  for (const { name, version, command, commandLine } of PEERS) {
    if (names?.includes(name) === false) continue;
    if (version === undefined) {
      console.error(`${name} is not installed: left out.`);
      continue;
    }
    const port = await freePort();
    const measured = await startMeasured(command, commandLine(port, world.upstreamPort, world.directory), port);
    world.keep(measured);
    onCore(0, measured.pid);
    peers.push({ name, version, url: `http://127.0.0.1:${port}`, headers: {}, process: measured });
  }
  return peers;
}

function script(file: string, port: number, upstreamPort: number): string[] {
  return [join(support, file), String(port), `http://127.0.0.1:${upstreamPort}`];
}

function packageVersion(name: string): string {
  const text = readFileSync(join(projectRoot, 'node_modules', name, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function versionOf(command: string): string | undefined {
  try {
    const output = execFileSync('sh', ['-c', '"$0" -v 2>&1', command], { encoding: 'utf8' });
    return /(\d+\.\d+\.\d+)/.exec(output)?.[1];
  } catch {
    return undefined;
  }
}

function haproxy(port: number, upstreamPort: number, directory: string): string[] {
  const path = join(directory, 'haproxy.conf');
  writeFileSync(
    path,
    `global
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
`,
  );
  return ['-db', '-f', path];
}

function nginx(port: number, upstreamPort: number, directory: string): string[] {
  const path = join(directory, 'nginx.conf');
  writeFileSync(
    path,
    `daemon off;
master_process off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/nginx.log;
events { worker_connections 20000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_temp_path ${directory}/nginx-bodies;
  upstream sandbox { server 127.0.0.1:${upstreamPort}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://sandbox;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
    }
  }
}
`,
  );
  return ['-c', path];
}
