import { readFileSync } from 'node:fs';

/** Features that all CPUs of this machine have, as the kernel names them, sorted: programs in a snapshot may have seen and use each of them. */
export function cpuFeatures(cpuinfo = readFileSync('/proc/cpuinfo', 'utf8')): string[] {
  const lines = [...cpuinfo.matchAll(/^(?:flags|Features)\s*:\s*(.*)$/gm)].map(([, names = '']) => names.split(' '));
  const [first = [], ...others] = lines;
  return first.filter((name) => name !== '' && others.every((names) => names.includes(name))).sort();
}
