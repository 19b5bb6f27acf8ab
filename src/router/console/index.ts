/** The console: one page below `/-/console` that shows and steers sandboxes through `/-/v1`, with the key that its user gives. It has no rights of its own. */
export { registerConsole } from './console.ts';
