import { type Command, Option } from 'commander';
import { type ConfiguredCommand, flagOf, loadSettings, type Settings, settings, variableOf } from '../config/index.ts';

/** Adds `--config` and the flags of every setting that the command takes; help texts come from the settings themselves. */
export function addSettingOptions(command: Command, name: ConfiguredCommand): Command {
  command.addOption(new Option('--config <path>', 'configuration file (YAML)').env('SANDBOX_ROUTER_CONFIG'));
  for (const setting of Object.values(settings)) {
    if (!setting.commands.includes(name) || setting.fileOnly) continue;
    const flag = 'placeholder' in setting ? `${flagOf(setting)} <${setting.placeholder}>` : flagOf(setting);
    const value = typeof setting.default === 'function' ? setting.default(name) : setting.default;
    const shown =
      value === undefined || value === false || (Array.isArray(value) && value.length === 0)
        ? ''
        : `default ${shownDefault(setting.placeholder ?? '', value)}, `;
    command.addOption(new Option(flag, `${setting.description} (${shown}${variableOf(setting)})`));
  }
  return command;
}

function shownDefault(placeholder: string, value: unknown): string {
  if (placeholder === 'duration|never' && value === 0) return 'never';
  return placeholder.startsWith('duration') ? `${Number(value) / 1000}s` : String(value);
}

/** The settings of a command, and how to read them again. */
export interface SettingsSource {
  settings: Settings;
  /** The configuration file, if there is one. */
  file: string | undefined;
  /** What the settings are now: flags and environment stay, the file may have changed. @throws ConfigError */
  read(): Settings;
}

/** Settings of a command line: defaults, file, environment, flags. @throws ConfigError */
export function settingsSourceFrom(options: Record<string, unknown>, name: ConfiguredCommand): SettingsSource {
  const flags = Object.fromEntries(Object.entries(settings).map(([key, setting]) => [key, options[setting.key]]));
  const file = options.config as string | undefined;
  const read = () => loadSettings({ command: name, file, environment: process.env, flags });
  return { settings: read(), file, read };
}

/** Settings that are read once. @throws ConfigError */
export function settingsFrom(options: Record<string, unknown>, name: ConfiguredCommand): Settings {
  return settingsSourceFrom(options, name).settings;
}
