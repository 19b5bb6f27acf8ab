import { spawn } from 'node:child_process';
import { withUsualPriority } from '../priority.ts';
import { RuntimeError } from './runtime.ts';

/** Bounds and inputs of one call of a tool. */
export interface CommandOptions {
  timeoutMs: number;
  /** Code of the RuntimeError when the tool fails. */
  failureCode: string;
  stdin?: Buffer;
  environment?: Record<string, string>;
  workingDirectory?: string;
  /** Kills the tool. */
  signal?: AbortSignal;
}

/** What a tool printed; `exitCode` is 0 unless failures were allowed. */
export interface CommandResult {
  exitCode: number;
  stdout: Buffer;
  stderr: Buffer;
}

/** Longest part of a tool's stderr that an error repeats. */
const STDERR_LIMIT = 2000;

/** Like {@link tryCommand}, but an exit code other than 0 is an error. @throws RuntimeError with the tool's stderr */
export async function runCommand(
  command: string,
  commandLine: string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const result = await tryCommand(command, commandLine, options);
  if (result.exitCode === 0) return result;
  const said = result.stderr.toString().trim().slice(-STDERR_LIMIT) || `exit code ${result.exitCode}`;
  throw new RuntimeError(options.failureCode, said);
}

/**
 * Runs a tool in a session of its own, so that a terminal's Ctrl-C does not reach it or what it starts.
 * @throws RuntimeError `timeout` (the tool is killed) or `runtime_unavailable` (it can't be started)
 */
export function tryCommand(command: string, commandLine: string[], options: CommandOptions): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = withUsualPriority(() =>
      spawn(command, commandLine, {
        detached: true,
        stdio: ['pipe', 'pipe', 'pipe'],
        cwd: options.workingDirectory ?? '/',
        ...(options.environment === undefined ? {} : { env: { ...process.env, ...options.environment } }),
      }),
    );
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => {});
    child.stdin.end(options.stdin);
    const abort = () => child.kill('SIGKILL');
    options.signal?.addEventListener('abort', abort, { once: true });
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      const said = Buffer.concat(stderr).toString().trim().slice(-STDERR_LIMIT);
      reject(
        new RuntimeError(
          'timeout',
          `${command} ${commandLine.at(-1)} gave no answer within ${options.timeoutMs} ms${said === '' ? '' : `: ${said}`}`,
        ),
      );
    }, options.timeoutMs);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new RuntimeError('runtime_unavailable', `${command} can't be started: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
      resolve({
        exitCode: code ?? (signal === 'SIGKILL' ? 137 : 143),
        stdout: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr),
      });
    });
  });
}
