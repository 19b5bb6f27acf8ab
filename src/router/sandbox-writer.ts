import {
  DRAINING_ANNOTATION,
  type KubernetesObject,
  type ObjectKey,
  type ResourceClient,
  type SandboxForm,
} from '../kubernetes/index.ts';

/** What an object must yet be for a write to take place. */
export interface Fence {
  uid: string;
  resourceVersion?: string;
}

/** All that the router writes to Sandboxes, in the form that the API serves. */
export interface SandboxWriter {
  /**
   * Sets whether a sandbox is to run, and that nobody is about to pause it; resolves with the generation that says so. A `fence` makes it fail with Conflict
   * if the object is another by now. @throws ApiError
   */
  setRunning(key: ObjectKey, running: boolean, fence?: Fence): Promise<number>;
  /** Tells all routers that it is about to be paused. @throws ApiError */
  announcePause(key: ObjectKey, fence: Fence, announcement: string): Promise<void>;
  /** @throws ApiError Conflict if a sandbox of another UID has the name now */
  annotate(key: ObjectKey, uid: string, annotations: Record<string, string | null>): Promise<void>;
}

/** A writer for the form that was discovered last. */
export function createSandboxWriter(client: ResourceClient, form: () => SandboxForm): SandboxWriter {
  const patch = (key: ObjectKey, body: unknown) =>
    client.patch<KubernetesObject>(form().type, key, body, { type: 'merge' });
  return {
    setRunning: async (key, running, fence) => {
      const metadata = { ...fence, annotations: { [DRAINING_ANNOTATION]: null } };
      return (await patch(key, { metadata, spec: form().mode(running) })).metadata.generation ?? 0;
    },
    announcePause: async (key, fence, announcement) => {
      await patch(key, { metadata: { ...fence, annotations: { [DRAINING_ANNOTATION]: announcement } } });
    },
    annotate: async (key, uid, annotations) => {
      await patch(key, { metadata: { uid, annotations } });
    },
  };
}
