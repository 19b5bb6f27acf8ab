/** Bytes that are read from a connection at once. */
const READ_BYTES = 65_536;
/** Buffers kept for the next large body. */
const MOST_SPARE = 64;

/**
 * Where connections read to. All share one buffer, as what is small is copied out of it at once; a connection in the middle of a large body has buffers of its own,
 * which go to the client as they are, without a copy, and come back.
 */
export interface ReadBuffers {
  /** For heads and small bodies: overwritten by the next read of any connection. */
  shared: Buffer;
  /** One that belongs to the caller. */
  take(): Buffer;
  give(buffer: Buffer): void;
}

/** Buffers of one router. */
export function createReadBuffers(): ReadBuffers {
  const spare: Buffer[] = [];
  return {
    shared: Buffer.allocUnsafeSlow(READ_BYTES),
    take: () => spare.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES),
    give: (buffer) => {
      if (spare.length < MOST_SPARE) spare.push(buffer);
    },
  };
}
