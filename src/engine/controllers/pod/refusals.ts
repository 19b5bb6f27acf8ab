/** A Pod that asks for what the engine does not do. The message names the field. */
export class PodRefusedError extends Error {
  readonly code = 'pod_refused';
}

/** A Pod that asks for what is not there. The message names the object and the key. Kubernetes' reason: CreateContainerConfigError. */
export class PodConfigError extends Error {
  readonly code = 'pod_config';
}
