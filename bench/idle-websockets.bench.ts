import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { BenchOptions } from './run.ts';
import { cpuTimeUs, residentBytes } from './support/processes.ts';
import { machine, median } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'memory of 10,000 idle WebSockets';

const SOCKETS = 10_000;
const AT_ONCE = 100;
const WANTED_MB = 150;

/** Opens sockets through the router, leaves them alone, and weighs it. */
export async function run({ rounds = 1 }: BenchOptions): Promise<Record<string, unknown>> {
  // Two descriptors for each socket in the router.
  execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${4 * SOCKETS}:${4 * SOCKETS}`]);
  console.log(
    `${SOCKETS} WebSockets to one sandbox, opened ${AT_ONCE} at a time, then idle. Resident memory of the router 5 s later, less that before the first. ${rounds} rounds.\n`,
  );
  const added: number[] = [];
  const idleCpu: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const { addedMb, cpuPercent } = await measure();
    added.push(addedMb);
    idleCpu.push(cpuPercent);
  }
  const figures = { addedMb: median(added), idleCpuPercent: median(idleCpu) };
  console.log(
    `${figures.addedMb} MB for ${SOCKETS} sockets, wanted: at most ${WANTED_MB}; ${figures.idleCpuPercent} % of a core while idle`,
  );
  return { ...figures, wantedMb: WANTED_MB, sockets: SOCKETS, rounds, machine: machine() };
}

async function measure(): Promise<{ addedMb: number; cpuPercent: number }> {
  const world = await startWorld({ upstream: 'web-socket-echo.ts' });
  const sockets: Socket[] = [];
  try {
    const router = await world.startRouter();
    const { port, pathname } = new URL(router.url);
    const open = async () =>
      sockets.push(await openSocket(Number(port), `${pathname}/`, router.headers.authorization ?? ''));
    // Code that is compiled at the first is none of the others' weight.
    for (let index = 0; index < AT_ONCE; index++) await open();
    await delay(1000);
    const { pid } = router.process;
    const before = residentBytes(pid);
    while (sockets.length < SOCKETS + AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, open));
    await delay(5000);
    const after = residentBytes(pid);
    const cpuBefore = cpuTimeUs(pid);
    await delay(3000);
    const cpuPercent = Math.round((cpuTimeUs(pid) - cpuBefore) / 3000) / 10;
    return { addedMb: Math.round((after - before) / 1e6), cpuPercent };
  } finally {
    for (const socket of sockets) socket.destroy();
    await world.close();
  }
}

/** A WebSocket after its handshake, as bytes alone: ten thousand clients must cost less than what is weighed. */
async function openSocket(port: number, path: string, authorization: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.write(
    `GET ${path} HTTP/1.1
Host: bench
Authorization: ${authorization}
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

`.replaceAll('\n', '\r\n'),
  );
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (!answer.toString('latin1').startsWith('HTTP/1.1 101 ')) throw new Error(`no WebSocket: ${answer}`);
  return socket;
}
