import { watchFile } from 'node:fs';
import { ConfigError, settings as definitions, type Settings } from '../config/index.ts';
import { createPolicy, type Policy, type PolicySettings } from '../router/index.ts';
import { report } from './report.ts';
import type { SettingsSource } from './setting-options.ts';

/** A policy that follows the configuration file. */
export interface ConfiguredPolicy {
  policy: Policy;
  /** Why the file as it is now was refused; undefined while it is what is in force. */
  refusal(): string | undefined;
  /** Settings that the file has changed since the start and that are read at the start alone. */
  restartNeededFor(): readonly string[];
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
  let restartNeededFor: readonly string[] = [];
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
        const waiting = changedSettings(settings, changed);
        if (waiting.length > 0 && waiting.join() !== restartNeededFor.join())
          console.error(`${file} also changes what takes effect at the next start only: ${waiting.join(', ')}.`);
        restartNeededFor = waiting;
      } catch (error) {
        refusal = (error as Error).message;
        report('the changed configuration is refused, the earlier one stays', error);
      }
    });
  return {
    policy,
    refusal: () => refusal,
    restartNeededFor: () => restartNeededFor,
    onReloaded: (listener) => listeners.add(listener),
  };
}

function policySettingsOf(settings: Settings): PolicySettings {
  const { tenants, egressRequired, egressVerify, egressClasses, runtimeRequire, runtimeClasses } = settings;
  return { tenants, egressRequired, egressVerify, egressClasses, runtimeRequire, runtimeClasses };
}

/** Keys of settings that are read once and differ. */
function changedSettings(before: Settings, after: Settings): string[] {
  const hot = Object.keys(policySettingsOf(before));
  return (Object.keys(definitions) as (keyof Settings)[])
    .filter((name) => !hot.includes(name) && JSON.stringify(before[name]) !== JSON.stringify(after[name]))
    .map((name) => definitions[name].key);
}
