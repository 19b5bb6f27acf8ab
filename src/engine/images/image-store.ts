import type { ImageRoot, ImageStore } from './images.ts';
import { makeToolbox, type ToolboxOptions } from './toolbox.ts';

/** Name of the built-in image; any tag, never pulled. */
export const TOOLBOX = 'sandbox-router.local/toolbox';

/** An image that can't be had. Codes: `image_not_found`. */
export class ImageError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = 'ImageError';
    this.code = code;
  }
}

/** The images of this engine: the toolbox, made ready when it is first asked for. */
export function createImageStore(options: ToolboxOptions): ImageStore {
  let toolbox: ImageRoot | undefined;
  return {
    resolve: async (reference) => {
      if (!/^sandbox-router\.local\/toolbox(:[\w][\w.-]{0,127})?$/.test(reference))
        throw new ImageError(
          'image_not_found',
          `image "${reference}" is not available: this engine has the built-in ${TOOLBOX} and pulls nothing`,
        );
      toolbox ??= makeToolbox(options);
      return toolbox;
    },
  };
}
