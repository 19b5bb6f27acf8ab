import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { type ConfiguredCommand, flagOf, type Setting, variableOf } from './setting.ts';
import { type Settings, settings } from './settings.ts';
import { nearest } from './values.ts';

/** A configuration that can't be used. The message names the source, the key and the fix. `code` is always `config_invalid`. */
export class ConfigError extends Error {
  readonly code = 'config_invalid';
}

/** Where settings come from, the later winning: defaults, file, environment, flags. */
export interface ConfigSources {
  command: ConfiguredCommand;
  /** Path of a YAML file, or undefined. */
  file?: string | undefined;
  environment: Record<string, string | undefined>;
  /** Flags given, by setting name. */
  flags: Record<string, unknown>;
}

/** Typed settings for a command. @throws ConfigError for an unreadable file, an unknown key or a value that does not parse */
export function loadSettings(sources: ConfigSources): Settings {
  const entries = Object.entries(settings) as [keyof Settings, Setting][];
  const fromFile = sources.file === undefined ? {} : flatten(readConfigFile(sources.file), entries);
  rejectUnknown(
    Object.keys(fromFile),
    entries.map(([, setting]) => setting.key),
    `in ${sources.file}`,
  );
  rejectUnknown(
    Object.keys(sources.environment).filter((name) => name.startsWith('SANDBOX_ROUTER_')),
    [...entries.filter(([, { fileOnly }]) => !fileOnly).map(([, setting]) => variableOf(setting)), ...otherVariables],
    'in the environment',
  );
  const values: Record<string, unknown> = {};
  for (const [name, setting] of entries) {
    values[name] = typeof setting.default === 'function' ? setting.default(sources.command) : setting.default;
    for (const [raw, source] of [
      [fromFile[setting.key], `${setting.key} in ${sources.file}`],
      [setting.fileOnly ? undefined : sources.environment[variableOf(setting)], variableOf(setting)],
      [setting.fileOnly ? undefined : sources.flags[name], flagOf(setting)],
    ] as const) {
      if (raw !== undefined) values[name] = parseValue(setting, raw, source);
    }
  }
  return values as Settings;
}

/** Variables of ours that are no settings: the configuration file's path, and the client's kubeconfig and token. */
const otherVariables = ['SANDBOX_ROUTER_CONFIG'];

function readConfigFile(path: string): Record<string, unknown> {
  let document: unknown;
  try {
    document = parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new ConfigError(`Can't read the configuration file ${path}: ${(error as Error).message}`);
  }
  if (document === null || document === undefined) return {};
  if (typeof document !== 'object' || Array.isArray(document))
    throw new ConfigError(`${path}: a mapping of settings is wanted, such as "listen: 127.0.0.1:8080".`);
  return document as Record<string, unknown>;
}

/** `egress: { verify: warn }` and `egress.verify: warn` are `egressVerify: warn`. */
function flatten(document: Record<string, unknown>, entries: [string, Setting][]): Record<string, unknown> {
  const structured = entries.filter(([, { fileOnly }]) => fileOnly).map(([, { key }]) => key);
  const flat: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(document)) {
    const key = name.replace(/\.([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const isGroup = typeof value === 'object' && value !== null && !Array.isArray(value) && !structured.includes(key);
    const pairs: [string, unknown][] = isGroup
      ? Object.entries(value).map(([inner, item]) => [`${key}${inner.charAt(0).toUpperCase()}${inner.slice(1)}`, item])
      : [[key, value]];
    for (const [final, item] of pairs) {
      if (Object.hasOwn(flat, final)) throw new ConfigError(`The file sets "${final}" twice.`);
      flat[final] = item;
    }
  }
  return flat;
}

function rejectUnknown(given: string[], valid: string[], where: string): void {
  const unknown = given.find((key) => !valid.includes(key));
  if (unknown !== undefined)
    throw new ConfigError(`Unknown setting "${unknown}" ${where}. Did you mean "${nearest(unknown, valid)}"?`);
}

function parseValue(setting: Setting, raw: unknown, source: string): unknown {
  try {
    return setting.parse(raw);
  } catch (error) {
    if (setting.fileOnly) throw new ConfigError(`${source}: ${(error as Error).message}.`);
    throw new ConfigError(`${source} ${(error as Error).message}, not ${JSON.stringify(raw)}.`);
  }
}
