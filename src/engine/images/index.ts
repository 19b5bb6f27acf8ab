/** Images made ready on disk: the built-in toolbox of the host's own programs, and OCI images fetched from registries and layouts. */
export { createImageStore, TOOLBOX } from './image-store.ts';
export {
  ImageError,
  type ImageRoot,
  type ImageStore,
  type PulledImage,
  type PullPolicy,
  type RegistryCredentials,
  type RemovedImage,
} from './images.ts';
export { parseDockerConfig } from './oci/credentials.ts';
