import { Command } from 'commander';
import { ConfigError } from '../config/index.ts';
import { ApiError } from '../kubernetes/index.ts';
import { tuneCollector } from './collector.ts';
import { doctorCommand } from './doctor.ts';
import { engineCommand } from './engine.ts';
import { explainCommand } from './explain.ts';
import { linkCommand } from './link.ts';
import { listCommand } from './list.ts';
import { pauseCommand } from './pause.ts';
import { resumeCommand } from './resume.ts';
import { serveCommand } from './serve.ts';
import { tokenCommand } from './token.ts';
import { upCommand } from './up.ts';
import { packageDescription, packageVersion } from './version.ts';
import { whyCommand } from './why.ts';

tuneCollector();
const program = new Command('sandbox-router')
  .description(packageDescription)
  .version(packageVersion)
  .showSuggestionAfterError()
  .showHelpAfterError('(add --help for the options)')
  .addCommand(upCommand())
  .addCommand(serveCommand())
  .addCommand(engineCommand())
  .addCommand(pauseCommand())
  .addCommand(resumeCommand())
  .addCommand(listCommand())
  .addCommand(whyCommand())
  .addCommand(linkCommand())
  .addCommand(tokenCommand())
  .addCommand(explainCommand())
  .addCommand(doctorCommand());

try {
  await program.parseAsync();
} catch (error) {
  reportFailure(error);
  process.exitCode = error instanceof ConfigError ? 2 : 1;
}

/** Expected failures are one readable line; anything else keeps its stack. */
function reportFailure(error: unknown): void {
  const expected =
    error instanceof ConfigError || error instanceof ApiError || (error instanceof Error && error.name === 'Error');
  const hasCode = error instanceof Error && typeof (error as { code?: unknown }).code === 'string';
  console.error(expected || hasCode ? `sandbox-router: ${(error as Error).message}` : error);
}
