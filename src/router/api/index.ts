export { type ControlApiOptions, registerControlApi } from './control-api.ts';
