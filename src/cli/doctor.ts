import { Command, InvalidArgumentError } from 'commander';
import { ApiError, createHttpResourceClient, KubeConfigError } from '../kubernetes/index.ts';
import { examine, type FactsScope, printReport } from './doctor/index.ts';
import { apiAccessOf } from './sandbox-verbs.ts';

interface DoctorOptions {
  namespace?: string;
  kubeconfig?: string;
  stateDir: string;
  routerNamespace: string;
  routerLabel: Record<string, string>;
  json?: boolean;
}

/** Exit codes that scripts rely on; 0: no failure. */
const EXIT_FAILURES = 1;
const EXIT_UNREACHABLE = 2;

/** `sandbox-router doctor`: the production readiness checklist. It only reads. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .option('-n, --namespace <name>', 'only sandboxes of this namespace (default: all)')
    .option(
      '--kubeconfig <path>',
      'cluster to talk to (default: <state-dir>/kubeconfig if there is one, else KUBECONFIG)',
    )
    .option('--state-dir <path>', 'state directory of "up"', '.sandbox-router')
    .option('--router-namespace <name>', 'namespace in which the router runs', 'agent-sandbox-system')
    .option('--router-label <labels>', 'labels of the pods of the router, as key=value,...', parseLabels, {
      app: 'sandbox-router',
    })
    .option('--json', 'one JSON object instead of a table')
    .description('check that a cluster is ready for production; changes nothing')
    .addHelpText('after', '\nExit code: 0 without failures, 1 with failures, 2 where the cluster could not be reached.')
    .action(doctor);
}

async function doctor(options: DoctorOptions): Promise<void> {
  try {
    const access = apiAccessOf(options);
    await using disposal = new AsyncDisposableStack();
    const client = disposal.adopt(createHttpResourceClient(access), (open) => open.close());
    const report = await examine(client, scopeOf(options));
    console.log(options.json === true ? JSON.stringify(report, undefined, 2) : printReport(report, access.server));
    if (report.summary.failure > 0) process.exitCode = EXIT_FAILURES;
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof KubeConfigError)) throw error;
    console.error(`sandbox-router: The cluster could not be examined: ${error.message}`);
    process.exitCode = EXIT_UNREACHABLE;
  }
}

function scopeOf({ namespace, routerNamespace, routerLabel }: DoctorOptions): FactsScope {
  return { routerNamespace, routerLabels: routerLabel, ...(namespace === undefined ? {} : { namespace }) };
}

function parseLabels(text: string): Record<string, string> {
  const pairs = text.split(',').map((pair) => pair.split('='));
  if (pairs.some(([key = '', , ...rest]) => key === '' || rest.length > 0) || pairs.some(({ length }) => length < 2))
    throw new InvalidArgumentError('Give it as key=value, several with commas.');
  return Object.fromEntries(pairs);
}
