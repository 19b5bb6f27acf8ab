import { hasTool, tryCommand } from '../../runtime/index.ts';
import { ImageError } from '../images.ts';

/** How to call skopeo or umoci. */
export interface ImageToolOptions {
  workingDirectory: string;
  timeoutMs: number;
  /** Longest file that it may write. */
  fileBytes: number;
  signal: AbortSignal;
  environment: NodeJS.ProcessEnv;
}

/**
 * Calls skopeo or umoci: bounded in time and in the size of what it writes, ended with this program, however that ends, and without the settings and logins of the
 * user who started it. @throws ImageError `image_pull_failed` with what the tool said last
 */
export async function callImageTool(
  tool: 'skopeo' | 'umoci',
  commandLine: string[],
  options: ImageToolOptions,
): Promise<Buffer> {
  for (const name of [tool, 'setpriv', 'prlimit'])
    if (!hasTool(name, options.environment))
      throw new ImageError(
        'image_pull_failed',
        `the tool "${name}" is missing (package ${name === tool ? tool : 'util-linux'})`,
      );
  const home = options.workingDirectory;
  const bounds = ['--pdeathsig', 'KILL', 'prlimit', `--fsize=${options.fileBytes}`, tool];
  const { exitCode, stdout, stderr } = await tryCommand('setpriv', [...bounds, ...commandLine], {
    timeoutMs: options.timeoutMs,
    failureCode: 'image_pull_failed',
    workingDirectory: options.workingDirectory,
    environment: { HOME: home, XDG_RUNTIME_DIR: home, XDG_CONFIG_HOME: home, DOCKER_CONFIG: home },
    signal: options.signal,
  }).catch((error: Error) => {
    throw new ImageError('image_pull_failed', error.message);
  });
  if (exitCode === 0) return stdout;
  throw new ImageError('image_pull_failed', lastWords(stderr.toString()) || `${tool} ended with ${exitCode}`);
}

/** Both tools log `time="…" level=fatal msg="…"` or plain lines; the last one says why. */
function lastWords(text: string): string {
  const line = text.trim().split('\n').at(-1) ?? '';
  const message = /\bmsg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
  const words = message === undefined ? line : (JSON.parse(message) as string);
  return words.slice(0, 1000);
}
