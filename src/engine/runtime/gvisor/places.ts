import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerSpec } from '../runtime.ts';
import { writeBundle } from './bundle.ts';
import type { Runsc } from './runsc.ts';

/** Where a container lies. */
export interface Place {
  bundle: string;
  /** What runsc itself says. */
  messages: string;
  /** Files that it writes to its root: measured before a checkpoint, removed with the container. */
  filestore: string;
  /** runsc's own lock: whoever makes or loads the container needs it. */
  lock: string;
  /** Output of a container that waits: it becomes the log of whoever is restored into it. */
  output: string;
  /** Link to the snapshot that a container which waited is restored from. */
  image: string;
  exitCode: string;
  /** runsc, with the filestore of this container. */
  own: Runsc;
}

/** Where containers lie. */
export interface Places {
  of(id: string): Place;
  /** Makes all that must be there before a container is made. */
  layOut(spec: ContainerSpec): Place;
  remove(id: string): void;
}

/** One directory below `containersDirectory` for each container. */
export function createPlaces(runsc: Runsc, containersDirectory: string): Places {
  function of(id: string): Place {
    const bundle = join(containersDirectory, id);
    const filestore = join(runsc.filestoreDirectory, id);
    return {
      bundle,
      messages: join(bundle, 'runsc.json'),
      filestore,
      lock: join(runsc.rootDirectory, `${id}_sandbox:${id}.lock`),
      output: join(bundle, 'output'),
      image: join(bundle, 'image'),
      exitCode: join(bundle, 'exit-code'),
      own: { ...runsc, filestoreDirectory: filestore },
    };
  }

  return {
    of,
    layOut: (spec) => {
      const place = of(spec.id);
      rmSync(place.bundle, { recursive: true, force: true });
      mkdirSync(place.filestore, { recursive: true, mode: 0o700 });
      writeBundle(place.bundle, spec);
      return place;
    },
    remove: (id) => {
      const { bundle, filestore, lock } = of(id);
      for (const path of [bundle, filestore, lock]) rmSync(path, { recursive: true, force: true });
    },
  };
}
