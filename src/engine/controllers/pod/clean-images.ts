import type { KubernetesObject } from '../../../kubernetes/index.ts';
import type { ImageStore } from '../../images/index.ts';
import type { EventRecorder } from '../events.ts';
import type { LocalPod } from './local-pods.ts';
import type { SnapshotDirectory } from './snapshots.ts';

/** What cleaning the image cache needs. */
export interface CleanImagesOptions {
  images: ImageStore;
  locals: ReadonlyMap<string, LocalPod>;
  snapshots: SnapshotDirectory;
  events: EventRecorder;
  nodeName: string;
}

/** Brings the image cache back within its bound. What Pods of this machine run or wait with, and what snapshots were taken of, stays. */
export async function cleanImages({ images, locals, snapshots, events, nodeName }: CleanImagesOptions): Promise<void> {
  const cleaned = await images.clean(() => usedBy(locals, snapshots));
  if (cleaned === undefined) return;
  const { removed, bytes, maxBytes } = cleaned;
  const node: KubernetesObject = { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName, uid: nodeName } };
  for (const { id, sizeBytes } of removed)
    events.note(
      node,
      'ImageRemoved',
      `Removed image ${JSON.stringify(id)} (${sizeBytes} bytes), which no sandbox uses: the image cache may have ${maxBytes} bytes`,
    );
  if (bytes > maxBytes && maxBytes > 0)
    events.warn(
      node,
      'FreeDiskSpaceFailed',
      `The image cache has ${bytes} bytes and may have ${maxBytes}, but sandboxes use the images in it or asked for them just now`,
    );
}

function usedBy(locals: CleanImagesOptions['locals'], snapshots: SnapshotDirectory): Set<string> {
  const used = new Set<string>();
  for (const { record } of locals.values())
    for (const { image } of [record, ...Object.values(record.members ?? {})])
      if (image !== undefined) used.add(image.digest);
  for (const id of snapshots.list()) {
    const { imageDigest, members = {} } = snapshots.recordOf(id) ?? {};
    for (const digest of [imageDigest, ...Object.values(members).map((member) => member.imageDigest)])
      if (digest !== undefined) used.add(digest);
  }
  return used;
}
