export { tryCommand } from './command.ts';
export { CONTAINER_ID_LENGTH, type ContainerIds, containerId, createContainerIds, memberId } from './container-id.ts';
export { findRunsc, runscTool } from './gvisor/find-runsc.ts';
export * from './runtime.ts';
export { engineTagOf, hasTool, type SelectedRuntime, type SelectRuntimeOptions, selectRuntime } from './select.ts';
export { cachedToolPath, ensureGoTool, type GoTool, type Progress, toolCacheDirectory } from './toolchain.ts';
