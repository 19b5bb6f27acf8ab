import { spawn } from 'node:child_process';

/** Outcome of a command, as the SDK reads it (contract section 4.1). */
export interface ExecuteResult {
  stdout: string;
  stderr: string;
  exit_code: number;
  /** The command was killed because it took too long. */
  timed_out: boolean;
}

/** Longest run of a command (contract section 4.1). */
export const EXECUTE_TIMEOUT_MS = 300_000;
/** Output kept of each stream; the SDKs accept 16 MB in all. */
const MOST_OUTPUT_BYTES = 7 * 2 ** 20;

/**
 * Runs a command in a shell inside the workspace. Its whole process group is killed when it takes too long or when `signal` aborts; output over the bound is
 * dropped, and the end of the stream says so.
 */
export function execute(
  command: string,
  workingDirectory: string,
  signal: AbortSignal,
  timeoutMs = EXECUTE_TIMEOUT_MS,
): Promise<ExecuteResult> {
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', command], {
      cwd: workingDirectory,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    let timedOut = false;
    const kill = () => {
      try {
        process.kill(-(child.pid as number), 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, timeoutMs);
    signal.addEventListener('abort', kill, { once: true });
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (code, endedBy) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', kill);
      const note = timedOut ? `\ncommand killed after ${timeoutMs / 1000} s` : '';
      resolve({
        stdout: stdout(),
        stderr: stderr() + note,
        exit_code: timedOut ? 124 : (code ?? (endedBy === 'SIGKILL' ? 137 : 143)),
        timed_out: timedOut,
      });
    });
  });
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  stream.on('data', (chunk: Buffer) => {
    if (sizeBytes < MOST_OUTPUT_BYTES) chunks.push(chunk.subarray(0, MOST_OUTPUT_BYTES - sizeBytes));
    sizeBytes += chunk.length;
  });
  return () => {
    const text = Buffer.concat(chunks).toString();
    return sizeBytes > MOST_OUTPUT_BYTES ? `${text}\n… ${sizeBytes - MOST_OUTPUT_BYTES} bytes more were dropped` : text;
  };
}
