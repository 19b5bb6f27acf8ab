import { join } from 'node:path';
import { Command } from 'commander';
import { ConfigError, parseDurationMs } from '../config/index.ts';
import { isBelow, isPath, type Narrowing, narrowLink } from '../router/index.ts';
import { tokenIn } from './token-file.ts';

interface LinkFlags {
  namespace?: string;
  path?: string;
  pathPrefix?: string;
  port?: string;
  expires?: string;
  method?: string;
  oneUse?: true;
  wake: boolean;
  narrow?: string;
  router: string;
  token?: string;
  stateDir: string;
}

/** `sandbox-router link`: a URL that lets a browser into one sandbox; `--narrow` takes from one that there is already, without asking anybody. */
export function linkCommand(): Command {
  return new Command('link')
    .argument('[sandbox]', 'sandbox that the link is for')
    .option('-n, --namespace <name>', "its namespace (default: the credential's own)")
    .option('--path <path>', 'where the link leads')
    .option('--path-prefix <path>', 'the only part of the sandbox that it reaches')
    .option('--port <port>', 'the only port that it reaches')
    .option('--expires <duration>', 'when it ends, 30d at most (default: 1h)')
    .option('--method <methods>', 'the only methods that it allows, comma separated; UPGRADE for WebSockets')
    .option('--one-use', 'it can be opened once')
    .option('--no-wake', 'it does not start a paused sandbox')
    .option('--narrow <file>', 'file with a link to take from, - for standard input; the router is not asked')
    .option('--router <url>', 'origin of the router', 'http://127.0.0.1:8080')
    .option('--token <file>', 'file with a token that reaches the sandbox (default: <state-dir>/token)')
    .option('--state-dir <path>', 'state directory of "up"', '.sandbox-router')
    .description('print a link that lets a browser into one sandbox for a while')
    .action(link);
}

async function link(sandbox: string | undefined, flags: LinkFlags): Promise<void> {
  if (flags.narrow !== undefined) {
    if (sandbox !== undefined || flags.path !== undefined || flags.namespace !== undefined)
      throw new ConfigError('--narrow takes from a link: a sandbox, --namespace or --path can not be given to it.');
    console.log(narrow(tokenIn(flags.narrow), narrowingOf(flags, Date.now())));
    return;
  }
  if (sandbox === undefined) throw new ConfigError('Name the sandbox that the link is for, or give --narrow.');
  if (!URL.canParse(flags.router)) throw new ConfigError(`--router: ${JSON.stringify(flags.router)} is no URL.`);
  const response = await fetch(new URL('/-/v1/links', flags.router), {
    method: 'POST',
    redirect: 'error',
    headers: {
      authorization: `Bearer ${tokenIn(flags.token ?? join(flags.stateDir, 'token'))}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({
      sandbox,
      namespace: flags.namespace,
      path: flags.path,
      pathPrefix: flags.pathPrefix,
      port: portOf(flags.port),
      lifetime: flags.expires,
      methods: methodsOf(flags.method),
      ...(flags.oneUse === undefined ? {} : { oneUse: true }),
      ...(flags.wake ? {} : { mayWake: false }),
    }),
  });
  const answer = (await response.json()) as { url?: string; detail?: string };
  if (!response.ok || answer.url === undefined)
    throw new Error(answer.detail ?? `The router answered ${response.status}.`);
  console.log(answer.url);
}

/** The same URL with less in it. */
function narrow(url: string, narrowing: Narrowing): string {
  const at = url.lastIndexOf('/') + 1;
  try {
    return url.slice(0, at) + narrowLink(url.slice(at), narrowing);
  } catch (error) {
    throw new ConfigError(`--narrow: ${(error as Error).message}.`);
  }
}

function narrowingOf(flags: LinkFlags, nowMs: number): Narrowing {
  const { pathPrefix } = flags;
  if (pathPrefix !== undefined && !(isPath(pathPrefix) && isBelow(pathPrefix, '/') && !pathPrefix.includes('?')))
    throw new ConfigError(`--path-prefix must be a plain path such as /notebooks/, not ${JSON.stringify(pathPrefix)}.`);
  const port = portOf(flags.port);
  const methods = methodsOf(flags.method);
  return {
    ...(flags.expires === undefined
      ? {}
      : { expiresAtSeconds: Math.floor((nowMs + durationOf(flags.expires)) / 1000) }),
    ...(pathPrefix === undefined ? {} : { pathPrefix }),
    ...(port === undefined ? {} : { port }),
    ...(methods === undefined ? {} : { methods }),
    ...(flags.oneUse === undefined ? {} : { oneUse: true as const }),
    ...(flags.wake ? {} : { mayWake: false as const }),
  };
}

function durationOf(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new ConfigError(`--expires ${(error as Error).message}, not ${JSON.stringify(text)}.`);
  }
}

function portOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65_535)
    throw new ConfigError(`--port must be a whole number from 1 to 65535, not ${JSON.stringify(text)}.`);
  return port;
}

function methodsOf(text: string | undefined): string[] | undefined {
  const methods = text?.split(',').map((method) => method.trim().toUpperCase());
  if (methods?.some((method) => !/^[A-Z]{1,20}$/.test(method)))
    throw new ConfigError(`--method must be methods such as GET,POST, not ${JSON.stringify(text)}.`);
  return methods;
}
