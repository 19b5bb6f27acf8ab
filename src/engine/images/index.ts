export type { ImageRoot, ImageStore } from './images.ts';
