import type { KubernetesObject, ObjectKey, ResourceClient, SandboxForm } from '../kubernetes/index.ts';

/** All that the router writes to Sandboxes, in the form that the API serves. */
export interface SandboxWriter {
  /**
   * Sets whether a sandbox is to run; resolves with the generation that says so. A `fence` (`uid`, `resourceVersion`) makes it fail with Conflict if the
   * object is another by now. @throws ApiError
   */
  setRunning(key: ObjectKey, running: boolean, fence?: { uid: string; resourceVersion: string }): Promise<number>;
  /** @throws ApiError Conflict if a sandbox of another UID has the name now */
  annotate(key: ObjectKey, uid: string, annotations: Record<string, string>): Promise<void>;
}

/** A writer for the form that was discovered last. */
export function createSandboxWriter(client: ResourceClient, form: () => SandboxForm): SandboxWriter {
  const patch = (key: ObjectKey, body: unknown) =>
    client.patch<KubernetesObject>(form().type, key, body, { type: 'merge' });
  return {
    setRunning: async (key, running, fence) => {
      const body = { ...(fence === undefined ? {} : { metadata: fence }), spec: form().mode(running) };
      return (await patch(key, body)).metadata.generation ?? 0;
    },
    annotate: async (key, uid, annotations) => {
      await patch(key, { metadata: { uid, annotations } });
    },
  };
}
