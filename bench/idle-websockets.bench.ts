import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { BenchOptions } from './run.ts';
import { cpuTimeUs, residentBytes } from './support/processes.ts';
import { sample } from './support/sample.ts';
import { machine, median } from './support/statistics.ts';
import { startWorld } from './support/world.ts';

export const description = 'memory of 10,000 idle WebSockets';

const SOCKETS = 10_000;
const AT_ONCE = 100;
const WANTED_MB = 150;

/** Opens sockets through the router, leaves them alone, and weighs it. */
export async function run({ rounds = 1 }: BenchOptions): Promise<Record<string, unknown>> {
  // Two descriptors for each socket in the router, and some for itself.
  const count = Math.min(SOCKETS, Math.floor((mostDescriptors() - 200) / 2));
  console.log(`${count} WebSockets to one sandbox, opened ${AT_ONCE} at a time, then idle. Resident memory of the router 5 s later, for each ${SOCKETS}: over that after a load of small requests, and over that of a router that was just started.
${count < SOCKETS ? 'A process may not have more descriptors here. ' : ''}Medians of ${rounds} rounds.\n`);
  const added: number[] = [];
  const addedToFresh: number[] = [];
  const idleCpu: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const { addedMb, addedToFreshMb, cpuPercent } = await measure(count);
    added.push(Math.round((addedMb * SOCKETS) / count));
    addedToFresh.push(Math.round((addedToFreshMb * SOCKETS) / count));
    idleCpu.push(cpuPercent);
  }
  const figures = { addedMb: median(added), addedToFreshMb: median(addedToFresh), idleCpuPercent: median(idleCpu) };
  console.log(
    `${figures.addedMb} MB for ${SOCKETS} sockets, ${figures.addedToFreshMb} MB over a fresh router, wanted: at most ${WANTED_MB}; ${figures.idleCpuPercent} % of a core while idle`,
  );
  return { ...figures, wantedMb: WANTED_MB, sockets: count, rounds, machine: machine() };
}

async function measure(count: number): Promise<{ addedMb: number; addedToFreshMb: number; cpuPercent: number }> {
  const world = await startWorld({ upstream: 'web-socket-echo.ts' });
  const sockets: Socket[] = [];
  try {
    const router = await world.startRouter();
    const { port, pathname } = new URL(router.url);
    const open = async () =>
      sockets.push(await openSocket(Number(port), `${pathname}/`, router.headers.authorization ?? ''));
    const { pid } = router.process;
    await delay(2000);
    const fresh = residentBytes(pid);
    // Compiled code, and room for what is young, are there in any router that has worked: they are none of the sockets' weight.
    await sample(router, { path: '/', connections: AT_ONCE, seconds: 3 });
    await Promise.all(Array.from({ length: AT_ONCE }, open));
    await delay(1000);
    const before = residentBytes(pid);
    const first = sockets.length;
    while (sockets.length < count) await Promise.all(Array.from({ length: AT_ONCE }, open));
    await delay(5000);
    const after = residentBytes(pid);
    const cpuBefore = cpuTimeUs(pid);
    await delay(3000);
    const cpuPercent = Math.round((cpuTimeUs(pid) - cpuBefore) / 3000) / 10;
    const addedMb = ((after - before) / 1e6) * (count / (count - first));
    return { addedMb, addedToFreshMb: (after - fresh) / 1e6, cpuPercent };
  } finally {
    for (const socket of sockets) socket.destroy();
    await world.close();
  }
}

/** So many files and sockets a process may have open. */
function mostDescriptors(): number {
  return Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
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
