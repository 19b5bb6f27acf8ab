import { flushCompileCache } from 'node:module';
import { relative } from 'node:path';
import { Command } from 'commander';
import { SANDBOXES, type Sandbox } from '../kubernetes/index.ts';
import type { Router } from '../router/index.ts';
import { withProgress } from './bootstrap.mjs';
import { type ConfiguredEngine, closeEngine, startConfiguredEngine } from './engine.ts';
import { applyManifests } from './manifests.ts';
import { report } from './report.ts';
import { waitForSandbox } from './sandbox-verbs.ts';
import { startConfiguredRouter } from './serve.ts';
import { addSettingOptions, type SettingsSource, settingsSourceFrom } from './setting-options.ts';
import { untilSignal } from './signals.ts';
import { ensureToken } from './state-directory.ts';
import { packageVersion } from './version.ts';

/** Longest wait for the example's sandboxes before the banner; they may go on starting behind it. */
const EXAMPLE_READY_MS = 20_000;

/** `sandbox-router up`: engine and router on this machine. */
export function upCommand(): Command {
  return addSettingOptions(new Command('up'), 'up')
    .option('--example <file>', 'manifests to apply once the engine is there')
    .description('run engine and router on this machine, without a cluster')
    .action((options: Record<string, unknown>) =>
      up(settingsSourceFrom(options, 'up'), options.example as string | undefined),
    );
}

async function up(source: SettingsSource, example: string | undefined): Promise<void> {
  const stopAsked = untilSignal();
  const configured = await startConfiguredEngine(source.settings);
  try {
    const { kubeconfig, token, linkKey } = configured.state;
    ensureToken(linkKey);
    const router = await startConfiguredRouter(source, kubeconfig, { token, linkKey });
    try {
      await router.synced;
      await publishRouter(configured, router);
      if (example !== undefined) await withProgress(`Applying ${example}`, () => applyExample(configured, example));
      console.log(banner(configured, router));
      // Now rather than at the end: an engine that is killed starts as fast as any.
      flushCompileCache();
      await stopAsked;
    } finally {
      await router.close();
    }
  } finally {
    await closeEngine(configured);
  }
}

/** Where clients of Agent Sandbox look for a router, among them the SDK's default connection: they forward a port of this Service. */
async function publishRouter({ engine }: ConfiguredEngine, router: Router): Promise<void> {
  await engine
    .publish({
      namespace: 'agent-sandbox-system',
      service: 'sandbox-router-svc',
      pod: 'sandbox-router',
      port: 8080,
      image: `sandbox-router.local/router:${packageVersion}`,
      connect: router.connect,
    })
    .catch((error) => report('publishing the router as a Service', error));
}

/** Applies the manifests and waits for those sandboxes that should run. One that is slow or broken is no reason not to start. */
async function applyExample({ engine }: ConfiguredEngine, path: string): Promise<void> {
  const names = await applyManifests(engine.client, path, 'default');
  const deadline = performance.now() + EXAMPLE_READY_MS;
  for (const name of names.filter((applied) => applied.startsWith('sandbox/'))) {
    const key = { namespace: 'default', name: name.slice('sandbox/'.length) };
    const settled = (sandbox: Sandbox) =>
      sandbox.spec.operatingMode === 'Suspended' ||
      sandbox.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
    const found = await engine.client.get<Sandbox>(SANDBOXES, key).catch(() => undefined);
    if (found !== undefined)
      await waitForSandbox(engine.client, key, Math.max(1, deadline - performance.now()), settled).catch(() => {});
  }
}

function banner({ engine, state }: ConfiguredEngine, router: Router): string {
  const show = (path: string) => relative(process.cwd(), path) || '.';
  const warnings = engine.warnings.map((warning) => `\nWARNING: ${warning}`).join('');
  return `
Sandbox Router ${packageVersion}${warnings}

  runtime     ${engine.runtime.description}
  router      ${router.url}
  console     ${router.url}/-/console
  admin       ${router.adminUrl}
  engine      ${engine.url}
  token       ${show(state.token)}
  kubeconfig  ${show(state.kubeconfig)}

Try next:
  curl -H "Authorization: Bearer $(cat ${show(state.token)})" ${router.url}/counter/
  npx sandbox-router pause counter
  kubectl --kubeconfig ${show(state.kubeconfig)} get sandboxes
`;
}
