import { watchFile } from 'node:fs';
import { ConfigError, type Settings } from '../config/index.ts';
import { createPolicy, type Policy, type PolicySettings } from '../router/index.ts';
import { report } from './report.ts';
import type { SettingsSource } from './setting-options.ts';

/** A policy that follows the configuration file. */
export interface ConfiguredPolicy {
  policy: Policy;
  /** Why the file as it is now was refused; undefined while it is what is in force. */
  refusal(): string | undefined;
  /** Told after each change that was taken. */
  onReloaded(listener: () => void): void;
}

/** How often the file is looked at. */
const WATCH_INTERVAL_MS = 500;

/** Policy by the settings. A changed file is taken whole or refused whole; then what was in force stays. */
export function configuredPolicy({ settings, file, read }: SettingsSource): ConfiguredPolicy {
  const policy = createPolicy(policySettingsOf(settings));
  const listeners = new Set<() => void>();
  let refusal: string | undefined;
  let rest = restOf(settings);
  if (file !== undefined)
    watchFile(file, { interval: WATCH_INTERVAL_MS, persistent: false }, () => {
      try {
        const changed = read();
        // Labels of pods are remembered from the start on, or not at all.
        if ((changed.egressVerify === 'off') !== (settings.egressVerify === 'off'))
          throw new ConfigError('Verifying egress can only be turned on or off by a restart.');
        policy.replace(policySettingsOf(changed));
        refusal = undefined;
        for (const listener of listeners) listener();
        if (rest !== restOf(changed)) console.error(`${file} also changes settings that need a restart.`);
        rest = restOf(changed);
      } catch (error) {
        refusal = (error as Error).message;
        report('the changed configuration is refused, the earlier one stays', error);
      }
    });
  return { policy, refusal: () => refusal, onReloaded: (listener) => listeners.add(listener) };
}

function policySettingsOf(settings: Settings): PolicySettings {
  const { tenants, egressRequired, egressVerify, egressClasses, runtimeRequire, runtimeClasses } = settings;
  return { tenants, egressRequired, egressVerify, egressClasses, runtimeRequire, runtimeClasses };
}

/** Everything that is read once, as text that can be compared. */
function restOf(settings: Settings): string {
  return JSON.stringify({
    ...settings,
    ...Object.fromEntries(Object.keys(policySettingsOf(settings)).map((key) => [key, 0])),
  });
}
