import { setFlagsFromString } from 'node:v8';

/**
 * Tells V8's garbage collector what requests are like: garbage as soon as they are answered, all of it.
 *
 * - It guesses by where an object was made how long that will live. Where many requests are under way at once, some do live for long, and it takes all of their kind
 *   for old: dead ones then hold on to what they refer to until the next full collection, and each small collection took 10 to 20 ms rather than one.
 * - Next to nothing is left to copy after that, and waking other threads up for it takes longer than doing it.
 */
export function tuneCollector(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
  setFlagsFromString('--no-parallel-scavenge');
}
