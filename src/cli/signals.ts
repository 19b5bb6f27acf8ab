/**
 * Resolves at the first SIGINT or SIGTERM with its name. A second one during the orderly end is ignored for `graceMs`, as terminals and supervisors
 * tend to repeat themselves, and kills the process after that.
 */
export function untilSignal(graceMs = 2000): Promise<NodeJS.Signals> {
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
