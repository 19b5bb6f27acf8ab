export { type ExtensionControllersOptions, startExtensionControllers } from './extensions.ts';
export { type PolicyController, type PolicyControllerOptions, startPolicyController } from './network-policy/index.ts';
export {
  type PodController,
  type PodControllerOptions,
  type PreparedLimits,
  startPodController,
} from './pod/index.ts';
export { type RunningController, type SandboxControllerOptions, startSandboxController } from './sandbox/index.ts';
export { createSnapshotPublisher, type SnapshotControllerOptions, startSnapshotController } from './snapshot/index.ts';
