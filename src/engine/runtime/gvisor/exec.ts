import { existsSync, rmSync } from 'node:fs';
import { attachedExec } from '../attached-exec.ts';
import { type AttachedExec, RuntimeError } from '../runtime.ts';
import { globalFlags, lastMessage, type Runsc } from './runsc.ts';

/**
 * A command inside a container. What runsc itself has to say goes to `messagesPath`, apart from what the command says: its standard error can't be used, as
 * the sentry shuts it down together with a command that can't be started.
 */
export async function execThroughRunsc(
  runsc: Runsc,
  messagesPath: string,
  id: string,
  command: string[],
  terminal: boolean,
): Promise<AttachedExec> {
  const log = [`--debug-log=${messagesPath}`, '--debug-log-format=json'];
  const running = await attachedExec([runsc.path, ...globalFlags(runsc), ...log, 'exec', id, ...command], { terminal });
  const exited = running.exited.then((exitCode) => {
    const message = exitCode === 0 || !existsSync(messagesPath) ? '' : lastMessage(messagesPath);
    rmSync(messagesPath, { force: true });
    const [, cause] = /FATAL ERROR: executing processes for container: (.*)/s.exec(message) ?? [];
    if (cause !== undefined) throw new RuntimeError('start_failed', cause);
    return exitCode;
  });
  exited.catch(() => {});
  return { ...running, exited };
}
