export { ConfigError, type ConfigSources, loadSettings } from './load.ts';
export { type ConfiguredCommand, flagOf, type Setting, type Settings, settings, variableOf } from './settings.ts';
export { isLoopback, nearest, parseDurationMs, parseListenAddress } from './values.ts';
