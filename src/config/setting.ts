/** Commands that take settings. */
export type ConfiguredCommand = 'up' | 'serve' | 'engine';

/** One setting: the single source of its file key, flag, environment variable, default and help text. */
export interface Setting<Value = unknown> {
  /** Key in the configuration file, in camel case; the flag and the variable are derived from it. */
  key: string;
  description: string;
  /** Placeholder in help texts; a setting without one is a switch. */
  placeholder?: string;
  /** What holds where nobody sets it; a function where it differs between commands. */
  default: Value | ((command: ConfiguredCommand) => Value);
  commands: readonly ConfiguredCommand[];
  /** Too much for a flag or a variable: the file alone has it. */
  fileOnly?: boolean;
  /** Turns the text of a flag or variable, or the value from the file, into the typed value; throws an Error that says what is wanted. */
  parse: (raw: unknown) => Value;
}

/** All commands. */
export const all = ['up', 'serve', 'engine'] as const;
/** Those with a router. */
export const routers = ['up', 'serve'] as const;
/** Those with an engine. */
export const engines = ['up', 'engine'] as const;

/** A setting with the type of its value. */
export function define<Value>(setting: Setting<Value>): Setting<Value> {
  return setting;
}

/** `--admin-listen` for `adminListen`. */
export function flagOf(setting: Pick<Setting, 'key'>): string {
  return `--${setting.key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `SANDBOX_ROUTER_ADMIN_LISTEN` for `adminListen`. */
export function variableOf(setting: Pick<Setting, 'key'>): string {
  return `SANDBOX_ROUTER_${setting.key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}
