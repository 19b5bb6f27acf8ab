/** Bounds on what the processes of a sandbox take of this machine. */
export { type Cgroups, createCgroups, NOT_JOINED } from './cgroups.ts';
