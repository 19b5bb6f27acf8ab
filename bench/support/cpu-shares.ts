import { cpuTimeUs } from './processes.ts';
import { machineTimes } from './quiet.ts';

/** CPU that was used, in percent of one core: by each process, and by all else on the machine. */
export type CpuShares<Name extends string> = Record<Name | 'others', number>;

/** Counts from now on until the function that it returns is called. Children aren't counted. */
export function startCpuShares<Name extends string>(pids: Readonly<Record<Name, number>>): () => CpuShares<Name> {
  const names = Object.keys(pids) as Name[];
  const used = () => names.map((name) => cpuTimeUs(pids[name]));
  const before = { atMs: performance.now(), used: used(), machine: machineTimes() };
  return () => {
    const wallUs = (performance.now() - before.atMs) * 1000;
    const machine = machineTimes();
    const percent = (us: number) => Math.max(0, Math.round((us / wallUs) * 100));
    const ownUs = used().map((us, index) => us - (before.used[index] as number));
    const idleShare = (machine.idle - before.machine.idle) / (machine.total - before.machine.total);
    const busyUs = wallUs * machine.cores * (1 - idleShare);
    const othersUs = busyUs - ownUs.reduce((sum, us) => sum + us, 0);
    const shares = names.map((name, index) => [name, percent(ownUs[index] as number)]);
    return { ...Object.fromEntries(shares), others: percent(othersUs) };
  };
}
