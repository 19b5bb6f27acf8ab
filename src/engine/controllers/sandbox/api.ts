import {
  type DeleteOptions,
  isApiError,
  type KubernetesObject,
  type ObjectKey,
  type ResourceClient,
  type ResourceType,
} from '../../../kubernetes/index.ts';

/** The object of that name, undefined when there is none. */
export async function find<T extends KubernetesObject>(
  client: ResourceClient,
  type: ResourceType,
  { namespace, name }: ObjectKey,
): Promise<T | undefined> {
  try {
    return await client.get<T>(type, namespace === undefined ? { name } : { namespace, name });
  } catch (error) {
    if (isApiError(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** Deletes exactly this object (by UID); no error when it is gone or was replaced by another of its name. */
export async function deleteIfThere(
  client: ResourceClient,
  type: ResourceType,
  { metadata }: KubernetesObject,
  options: DeleteOptions = {},
): Promise<void> {
  try {
    await client.delete(type, metadata, { uid: metadata.uid ?? '', ...options });
  } catch (error) {
    if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
  }
}

/** Sets annotations of exactly this object; null removes one. */
export async function annotate<T extends KubernetesObject>(
  client: ResourceClient,
  type: ResourceType,
  { metadata }: T,
  annotations: Record<string, string | null>,
): Promise<T> {
  const { uid } = metadata;
  return await client.patch<T>(type, metadata, { metadata: { uid, annotations } }, { type: 'merge' });
}
