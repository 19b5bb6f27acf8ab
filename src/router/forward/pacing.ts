import { Transform } from 'node:stream';

/** Keeps the books of bytes: so many went through; returns for how many milliseconds nothing more should. */
export interface BytePacer {
  spend(bytes: number, nowMs: number): number;
}

/** A body that turned out to be larger than it may. */
export class BodyTooLargeError extends Error {
  readonly code = 'body_too_large';
}

/**
 * Passes bytes on at the pace of a pacer, up to a bound. Made only for those who have either: everybody else's bytes go by without it.
 * Ends with {@link BodyTooLargeError} above `maxBytes`.
 */
export function createPacedStream(pacer: BytePacer | undefined, maxBytes: number): Transform {
  let passed = 0;
  let timer: NodeJS.Timeout | undefined;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      passed += chunk.length;
      if (passed > maxBytes) {
        done(new BodyTooLargeError(`Bodies may have ${maxBytes} bytes.`));
        return;
      }
      const waitMs = pacer?.spend(chunk.length, performance.now()) ?? 0;
      this.push(chunk);
      if (waitMs <= 0) done();
      else timer = setTimeout(done, waitMs);
    },
    destroy(error, done) {
      clearTimeout(timer);
      done(error);
    },
  });
}
