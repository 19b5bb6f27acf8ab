/**
 * For programs that stay. Resolves at the first SIGINT or SIGTERM with its name. A second one during the orderly end is ignored for `graceMs`, as terminals and supervisors
 * tend to repeat themselves, and kills the process after that. From now on it is no failure when nobody reads the output any more.
 */
export function untilSignal(graceMs = 2000): Promise<NodeJS.Signals> {
  // A terminal that was closed, a launcher that ended: what is said to nobody must not cut the orderly end short, and leave sandboxes running.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  return new Promise((resolve) => {
    let firstAt: number | undefined;
    const onSignal = (signal: NodeJS.Signals) => {
      if (firstAt === undefined) {
        firstAt = performance.now();
        resolve(signal);
      } else if (performance.now() - firstAt > graceMs) {
        console.error(`${signal} again: stopping at once. What runs is found again at the next start.`);
        process.exit(130);
      }
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  });
}
