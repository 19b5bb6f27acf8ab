import { Command } from 'commander';
import { ConfigError } from '../config/index.ts';
import { tokenIn } from './token-file.ts';

interface ExplainFlags {
  token: string;
  as?: string;
  router?: string;
}

/** What `/-/v1/explain` answers, as far as it is printed. */
interface Answer {
  allowed?: boolean;
  steps?: { step: string; ok: boolean; detail: string; code?: string }[];
  detail?: string;
}

/** `sandbox-router explain`: why a token does or does not reach a URL. Tokens come from files: a command line is seen by everybody. */
export function explainCommand(): Command {
  return new Command('explain')
    .argument('<url>', 'URL of a sandbox, in any form')
    .requiredOption('--token <file>', 'file with the token in question, - for standard input')
    .option('--as <file>', 'file with a token of scope manage, if that one has it not')
    .option('--router <url>', 'origin of the router (default: that of the URL)')
    .description('tell step by step what would become of a request; nothing is woken or forwarded')
    .action(explain);
}

async function explain(url: string, flags: ExplainFlags): Promise<void> {
  if (!URL.canParse(url)) throw new ConfigError(`${JSON.stringify(url)} is no URL.`);
  const token = tokenIn(flags.token);
  const asker = flags.as === undefined ? token : tokenIn(flags.as);
  const response = await fetch(new URL('/-/v1/explain', flags.router ?? originOf(url)), {
    method: 'POST',
    redirect: 'error',
    headers: { authorization: `Bearer ${asker}`, 'content-type': 'application/json' },
    body: JSON.stringify({ url, token }),
  });
  const answer = (await response.json()) as Answer;
  if (!response.ok) throw new Error(answer.detail ?? `The router answered ${response.status}.`);
  for (const { step, ok, detail, code } of answer.steps ?? [])
    console.log(`${ok ? 'ok  ' : 'STOP'}  ${step.padEnd(8)}  ${code === undefined ? '' : `${code}: `}${detail}`);
  if (answer.allowed !== true) process.exitCode = 1;
}

/** A sandbox's own origin below `localhost` has no router of ours. */
function originOf(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host.replace(/^[^:]*\.localhost(?=:|$)/, 'localhost')}`;
}
