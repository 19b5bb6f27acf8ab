import { closeSync, fstatSync, openSync, statSync, write } from 'node:fs';

/** Where lines of a log go. */
export interface LineWriter {
  /** Takes a line; written a moment later, together with others. Never waits. */
  write(line: string): void;
  /** Opens the file anew, as after a rotation. */
  reopen(): void;
  /** Lines that were lost because the disk did not keep up, or failed. */
  droppedLines(): number;
  /** Resolves when everything is written. */
  close(): Promise<void>;
}

/** What a writer is made with. */
export interface LineWriterOptions {
  /** Path of a file, or `stderr`, or `stdout`. */
  target: string;
  failed(error: unknown): void;
  /** Lines that may wait, in characters; more are dropped and counted. */
  mostWaiting?: number;
}

/** Lines wait this long for company. */
const BATCH_MS = 200;
const MOST_WAITING = 8_388_608;
const STANDARD_STREAMS: Record<string, number> = { stdout: 1, stderr: 2 };

/** A writer of lines in batches. A file that was moved away is left for a new one of its name within a second. @throws Error if it can not be opened */
export function createLineWriter({ target, failed, mostWaiting = MOST_WAITING }: LineWriterOptions): LineWriter {
  const standard = STANDARD_STREAMS[target];
  let descriptor = standard ?? open(target);
  let waiting: string[] = [];
  let waitingLength = 0;
  let dropped = 0;
  let untold = 0;
  let writing: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let reopenWanted = false;
  let lastFailure = '';

  function moved(): boolean {
    if (standard !== undefined) return false;
    try {
      return statSync(target).ino !== fstatSync(descriptor).ino;
    } catch {
      return true;
    }
  }

  /** Only between two writes: the descriptor is closed. */
  function followFile(): void {
    if (standard !== undefined || !(reopenWanted || moved())) return;
    reopenWanted = false;
    const next = open(target);
    closeSync(descriptor);
    descriptor = next;
  }

  async function flush(): Promise<void> {
    timer = undefined;
    while (waiting.length > 0) {
      if (untold > 0)
        waiting.unshift(JSON.stringify({ time: new Date().toISOString(), action: 'lost', count: untold }));
      const lines = waiting;
      const told = untold;
      untold = 0;
      waiting = [];
      waitingLength = 0;
      try {
        followFile();
        await writeAll(descriptor, Buffer.from(`${lines.join('\n')}\n`));
        lastFailure = '';
      } catch (error) {
        const lost = lines.length - (told > 0 ? 1 : 0);
        dropped += lost;
        untold += told + lost;
        if ((error as Error).message !== lastFailure) failed(error);
        lastFailure = (error as Error).message;
      }
    }
    writing = undefined;
  }

  function schedule(): void {
    if (writing !== undefined || timer !== undefined) return;
    timer = setTimeout(() => {
      writing = flush();
    }, BATCH_MS);
    timer.unref();
  }

  return {
    write: (line) => {
      if (waitingLength + line.length > mostWaiting) {
        dropped++;
        untold++;
        return;
      }
      waiting.push(line);
      waitingLength += line.length;
      schedule();
    },
    reopen: () => {
      reopenWanted = true;
    },
    droppedLines: () => dropped,
    close: async () => {
      clearTimeout(timer);
      await writing;
      await flush();
      if (standard === undefined) closeSync(descriptor);
    },
  };
}

/** Readable by its owner alone: it tells who uses what. */
function open(path: string): number {
  return openSync(path, 'a', 0o600);
}

function writeAll(descriptor: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const next = (offset: number): void => {
      write(descriptor, bytes, offset, bytes.length - offset, null, (error, written) => {
        // A pipe that is full asks for patience.
        if (error?.code === 'EAGAIN') setTimeout(next, 10, offset);
        else if (error !== null) reject(error);
        else if (offset + written < bytes.length) next(offset + written);
        else resolve();
      });
    };
    next(0);
  });
}
