import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { withUsualPriority } from '../../priority.ts';
import { RuntimeError } from '../runtime.ts';
import { globalFlags, type Runsc } from './runsc.ts';

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * A connection to a port on the loopback of a container's own network stack: `runsc port-forward` hands the sentry one end of a Unix socket of which this
 * program holds the other. @throws RuntimeError `connect_failed` with what runsc said
 */
export async function connectThroughRunsc(runsc: Runsc, id: string, port: number): Promise<Duplex> {
  // Paths of Unix sockets have little room, so not below the state directory.
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-port-'));
  const path = join(directory, 'socket');
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  try {
    let connected: Duplex | undefined;
    server.once('connection', (socket) => {
      connected = socket;
    });
    await new Promise<void>((listening, failed) => server.once('error', failed).listen(path, listening));
    const commandLine = [...globalFlags(runsc), 'port-forward', '--stream', path, id, String(port)];
    const child = withUsualPriority(() =>
      spawn(runsc.path, commandLine, {
        detached: true,
        stdio: ['ignore', 'ignore', 'pipe'],
        cwd: '/',
        timeout: CONNECT_TIMEOUT_MS,
      }),
    );
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-2000);
    });
    child.on('error', (error) => reject(new RuntimeError('runtime_unavailable', error.message)));
    child.on('close', (code) => {
      // The accept may be told a moment after the end of the program that connected.
      setImmediate(() => {
        if (code === 0 && connected !== undefined) resolve(connected);
        else {
          connected?.destroy();
          const why = /connection (?:was )?refused/i.test(said)
            ? 'connection refused'
            : said.trim() || `exit code ${code}`;
          reject(new RuntimeError('connect_failed', `nothing answers on port ${port} inside the sandbox: ${why}`));
        }
      });
    });
    return await promise;
  } finally {
    server.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
