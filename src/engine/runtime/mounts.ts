import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Unmounts everything below a directory: runsc keeps a network namespace bound there, which would outlive it and keep the directory from being removed. */
export function unmountBelow(directory: string): void {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(`${directory}/`));
  for (const point of points.toReversed()) execFileSync('umount', ['-l', point]);
}
