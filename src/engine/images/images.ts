import type { RootFilesystem } from '../runtime/index.ts';

/** An image made ready on disk: its root and the defaults that a container spec may override. */
export interface ImageRoot {
  root: RootFilesystem;
  entrypoint: string[];
  command: string[];
  env: Record<string, string>;
  workingDirectory: string;
  user: { uid: number; gid: number };
}

/** Turns image references into roots. Throws ImageError (`image_not_found`, `image_invalid`) naming the reference. */
export interface ImageStore {
  resolve(reference: string): Promise<ImageRoot>;
}
