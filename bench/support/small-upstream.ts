import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isInstalled } from './load.ts';

/** A sandbox that has nothing but a small answer, and takes as little of the core that it shares with the load as there is: nginx where it is installed. */
export function smallUpstream(port: number, directory: string): [command: string, ...commandLine: string[]] {
  if (!isInstalled('nginx'))
    return [process.execPath, join(dirname(fileURLToPath(import.meta.url)), 'upstream.ts'), String(port), '0.0.0.0'];
  const path = join(directory, 'small-upstream.conf');
  writeFileSync(
    path,
    `daemon off;
master_process off;
worker_processes 1;
pid ${directory}/small-upstream.pid;
error_log ${directory}/small-upstream.log;
events { worker_connections 20000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  server {
    listen 0.0.0.0:${port};
    location / { default_type text/plain; return 200 'hello'; }
  }
}
`,
  );
  return ['nginx', '-c', path];
}
