export { createImageStore, ImageError, TOOLBOX } from './image-store.ts';
export type { ImageRoot, ImageStore } from './images.ts';
