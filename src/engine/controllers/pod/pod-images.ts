import type { Container, Pod, ResourceClient } from '../../../kubernetes/index.ts';
import { ImageError, type ImageRoot, type ImageStore, type PullPolicy } from '../../images/index.ts';
import type { EventRecorder } from '../events.ts';
import { keyOf } from '../object-cache.ts';
import { podDataOf } from './pod-data.ts';
import { pullSecretsOf } from './pull-secrets.ts';

/** A container's image, or what the container waits for meanwhile, in the words of a kubelet. */
export type FoundImage = { image: ImageRoot } | { waiting: { reason: string; message?: string } };

/** What fetching images for Pods needs. */
export interface PodImagesOptions {
  client: ResourceClient;
  images: ImageStore;
  events: EventRecorder;
  now(): Date;
  /** An image was fetched. */
  fetched(): void;
  /** The state of an image of this Pod (`namespace/name`) changed. */
  changed(key: string): void;
}

/** The images of Pods: fetched while the Pod can be looked at and deleted, with the events and back-off of a kubelet. */
export interface PodImages {
  /** To be asked before each start of a container. `digest` is what a snapshot was taken of. @throws Error only for failures of the engine itself */
  imageFor(pod: Pod, container: Container, digest?: string): Promise<FoundImage>;
  /** The Pod is gone: nobody waits for its images. */
  forget(podUid: string): void;
  /** Nobody waits for anything. */
  close(): void;
}

/** How far the image of one container is. */
type Fetch = { reference: string; attempt: number } & (
  | { state: 'fetching'; controller: AbortController }
  | { state: 'fetched'; image: ImageRoot }
  | { state: 'waiting'; reason: string; message: string; timer?: NodeJS.Timeout }
  | { state: 'due' }
);

/** How long the failure itself is shown before the wait for the next attempt. */
const FAILURE_SHOWN_MS = 1000;
const FIRST_BACKOFF_MS = 2000;
const LONGEST_BACKOFF_MS = 60_000;

/** Creates {@link PodImages}. */
export function createPodImages(options: PodImagesOptions): PodImages {
  const { images, events } = options;
  const fetches = new Map<string, Fetch>();

  async function imageFor(pod: Pod, container: Container, digest?: string): Promise<FoundImage> {
    const key = `${pod.metadata.uid}/${container.name}`;
    let fetch = fetches.get(key);
    if (fetch !== undefined && fetch.reference !== container.image) {
      end(key);
      fetch = undefined;
    }
    if (fetch?.state === 'fetching') return { waiting: { reason: 'ContainerCreating' } };
    if (fetch?.state === 'waiting') return { waiting: { reason: fetch.reason, message: fetch.message } };
    if (fetch?.state === 'fetched') {
      fetches.delete(key);
      return { image: fetch.image };
    }
    return await look(key, pod, container, digest, fetch?.attempt ?? 0);
  }

  async function look(
    key: string,
    pod: Pod,
    container: Container,
    digest: string | undefined,
    attempt: number,
  ): Promise<FoundImage> {
    const { image: reference } = container;
    const field = fieldOf(pod, container);
    try {
      const policy = (container.imagePullPolicy ?? 'IfNotPresent') as PullPolicy;
      const image = await images.find(reference, policy, digest);
      if (image !== undefined) {
        fetches.delete(key);
        if (image.pulled !== undefined && digest === undefined)
          events.note(pod, 'Pulled', `Container image ${JSON.stringify(reference)} already present on machine`, field);
        return { image };
      }
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      const invalid = error.code === 'image_invalid';
      const reason = invalid ? 'InvalidImageName' : 'ErrImageNeverPull';
      events.warn(pod, invalid ? 'InspectFailed' : 'ErrImageNeverPull', error.message, field);
      events.warn(pod, 'Failed', `Error: ${reason}`, field);
      fetches.set(key, { reference, attempt, state: 'waiting', reason, message: error.message });
      return { waiting: { reason, message: error.message } };
    }
    const controller = new AbortController();
    const fetch: Fetch = { reference, attempt, state: 'fetching', controller };
    fetches.set(key, fetch);
    void pull(key, fetch, pod, container, controller.signal);
    return { waiting: { reason: 'ContainerCreating' } };
  }

  async function pull(key: string, fetch: Fetch, pod: Pod, container: Container, signal: AbortSignal): Promise<void> {
    const { image: reference } = container;
    const quoted = JSON.stringify(reference);
    const field = fieldOf(pod, container);
    const startedAt = options.now().getTime();
    try {
      events.note(pod, 'Pulling', `Pulling image ${quoted}`, field);
      const { credentials, unusable } = await pullSecretsOf(pod, podDataOf(options.client, pod));
      if (unusable.length > 0)
        events.warn(
          pod,
          'FailedToRetrieveImagePullSecret',
          `Unable to retrieve some image pull secrets (${unusable.join(', ')}); attempting to pull the image may not succeed.`,
        );
      const image = await images.pull(reference, { credentials, signal });
      if (fetches.get(key) !== fetch) return;
      const seconds = ((options.now().getTime() - startedAt) / 1000).toFixed(3);
      const { sizeBytes = 0 } = image.pulled ?? {};
      events.note(
        pod,
        'Pulled',
        `Successfully pulled image ${quoted} in ${seconds}s. Image size: ${sizeBytes} bytes.`,
        field,
      );
      fetches.set(key, { ...fetch, state: 'fetched', image });
      options.fetched();
    } catch (error) {
      if (fetches.get(key) !== fetch) return;
      const message = `Failed to pull image ${quoted}: ${(error as Error).message}`;
      events.warn(pod, 'Failed', message, field);
      events.warn(pod, 'Failed', 'Error: ErrImagePull', field);
      const timer = setTimeout(() => backOff(key, pod, field, message), FAILURE_SHOWN_MS);
      fetches.set(key, { ...fetch, state: 'waiting', reason: 'ErrImagePull', message, timer });
    }
    options.changed(keyOf(pod));
  }

  function backOff(key: string, pod: Pod, field: string, failure: string): void {
    const fetch = fetches.get(key);
    if (fetch?.state !== 'waiting') return;
    const { reference, attempt } = fetch;
    const message = `Back-off pulling image ${JSON.stringify(reference)}: ErrImagePull: ${failure}`;
    events.note(pod, 'BackOff', `Back-off pulling image ${JSON.stringify(reference)}`, field);
    events.warn(pod, 'Failed', 'Error: ImagePullBackOff', field);
    const due = () => {
      fetches.set(key, { reference, attempt: attempt + 1, state: 'due' });
      options.changed(keyOf(pod));
    };
    const timer = setTimeout(due, Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** attempt));
    fetches.set(key, { reference, attempt, state: 'waiting', reason: 'ImagePullBackOff', message, timer });
    options.changed(keyOf(pod));
  }

  function end(key: string): void {
    const fetch = fetches.get(key);
    fetches.delete(key);
    if (fetch?.state === 'fetching') fetch.controller.abort();
    if (fetch?.state === 'waiting') clearTimeout(fetch.timer);
  }

  return {
    imageFor,
    forget: (podUid) => {
      for (const key of [...fetches.keys()]) if (key.startsWith(`${podUid}/`)) end(key);
    },
    close: () => {
      for (const key of [...fetches.keys()]) end(key);
    },
  };
}

/** What an event about a container points at. */
export function fieldOf({ spec }: Pod, { name }: Container): string {
  const isInit = spec.initContainers?.some((container) => container.name === name) === true;
  return `spec.${isInit ? 'initContainers' : 'containers'}{${name}}`;
}
