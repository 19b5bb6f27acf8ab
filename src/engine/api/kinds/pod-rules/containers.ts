import { items } from '../../object.ts';

/** Every container of a Pod's spec, init containers first, with the path of its fields. */
export function containersOf(spec: unknown, path: string): { container: unknown; path: string }[] {
  return ['initContainers', 'containers'].flatMap((list) =>
    items(spec, list).map((container, index) => ({ container, path: `${path}.${list}[${index}]` })),
  );
}
