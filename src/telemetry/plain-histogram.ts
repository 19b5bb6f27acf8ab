import { Gauge, type Registry } from 'prom-client';

/** A histogram of durations whose observations are additions to plain numbers: three metrics in the exposition format's own shape. Takes milliseconds. */
export function createPlainHistogram(
  registry: Registry,
  name: string,
  what: string,
  boundsMs: readonly number[],
): (durationMs: number) => void {
  const buckets = new Float64Array(boundsMs.length + 1);
  let sumMs = 0;
  let count = 0;
  new Gauge({
    name: `${name}_bucket`,
    help: `Cumulative counts of ${what}.`,
    labelNames: ['le'],
    registers: [registry],
    collect() {
      let sum = 0;
      boundsMs.forEach((bound, index) => {
        sum += buckets[index] ?? 0;
        this.set({ le: String(bound / 1000) }, sum);
      });
      this.set({ le: '+Inf' }, count);
    },
  });
  for (const [suffix, help, value] of [
    ['sum', `Total of ${what}.`, () => sumMs / 1000],
    ['count', `Number of ${what}.`, () => count],
  ] as const) {
    new Gauge({
      name: `${name}_${suffix}`,
      help,
      registers: [registry],
      collect() {
        this.set(value());
      },
    });
  }
  return (durationMs) => {
    sumMs += durationMs;
    count++;
    let index = 0;
    while (index < boundsMs.length && durationMs > (boundsMs[index] as number)) index++;
    buckets[index] = (buckets[index] as number) + 1;
  };
}
