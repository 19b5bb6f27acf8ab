import type { RootFilesystem } from '../runtime/index.ts';

/** An image made ready on disk: its root and the defaults that a container spec may override. */
export interface ImageRoot {
  root: RootFilesystem;
  entrypoint: string[];
  command: string[];
  env: Record<string, string>;
  workingDirectory: string;
  user: { uid: number; gid: number; additionalGids?: number[] };
  /** What was pulled; absent for the built-in image. */
  pulled?: PulledImage;
}

/** Which content a pulled image is. */
export interface PulledImage {
  /** Digest of the OCI manifest that was unpacked: finds this very content again, whatever its tag says later. */
  digest: string;
  /** Name with the digest under which its source has it: `registry.example.com/app@sha256:…`. */
  id: string;
  /** Bytes of its files. */
  sizeBytes: number;
}

/** Kubernetes' imagePullPolicy. */
export type PullPolicy = 'Always' | 'IfNotPresent' | 'Never';

/** A username and password, or whatever a registry takes as such. */
export interface RegistryCredential {
  username: string;
  password: string;
}

/** Credentials for registries: what a `kubernetes.io/dockerconfigjson` Secret has, key by key. */
export type RegistryCredentials = ReadonlyMap<string, RegistryCredential>;

/** How to fetch an image. */
export interface PullOptions {
  credentials: RegistryCredentials;
  /** Ends the pull for whoever asked; it goes on for others that wait for the same. */
  signal: AbortSignal;
}

/** An image that went out of the cache. */
export interface RemovedImage {
  /** Name with the digest under which its source has it. */
  id: string;
  sizeBytes: number;
}

/** Turns image references into roots. */
export interface ImageStore {
  /**
   * The image if it is at hand and the policy lets it be taken as it is; undefined if it must be fetched first. `digest` names content that was taken of this
   * reference before: no policy moves it. @throws ImageError `image_invalid`, `image_never_pull`
   */
  find(reference: string, policy: PullPolicy, digest?: string): Promise<ImageRoot | undefined>;
  /** Fetches an image as its reference has it now. @throws ImageError `image_invalid`, `image_pull_failed` */
  pull(reference: string, options: PullOptions): Promise<ImageRoot>;
  /**
   * Brings the cache back within its bound, leaving the images with these digests (asked for only if something must go), and resolves with what went and with the bytes that stay. Puts it off while
   * images are pulled, and resolves with nothing then: to be called again afterwards.
   */
  clean(
    used: () => ReadonlySet<string>,
  ): Promise<{ removed: RemovedImage[]; bytes: number; maxBytes: number } | undefined>;
}

/**
 * An image that can't be had. Codes: `image_invalid` (the reference is none), `image_never_pull` (not there, and not to be fetched), `image_pull_failed`. Messages name the
 * reference.
 */
export class ImageError extends Error {
  readonly code: 'image_invalid' | 'image_never_pull' | 'image_pull_failed';

  constructor(code: ImageError['code'], message: string) {
    super(message);
    this.name = 'ImageError';
    this.code = code;
  }
}
