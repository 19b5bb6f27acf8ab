import type { Column } from '../kinds/index.ts';
import type { ApiObject } from '../object.ts';
import type { Endpoint, ObjectPage } from '../operations/index.ts';
import type { Representation } from './negotiate.ts';

/** How answers are shaped for one request. */
export interface Shape {
  as: Representation['as'];
  /** What a table's rows carry of their object. */
  includeObject: string;
  nowMs: number;
}

/** One object in the form asked for. */
export function representObject(endpoint: Endpoint, object: ApiObject, shape: Shape): unknown {
  if (shape.as === 'Table')
    return table(endpoint, [object], { resourceVersion: object.metadata.resourceVersion }, shape, true);
  return shape.as === 'PartialObjectMetadata' ? metadataOnly(object) : object;
}

/** A list in any form: `rows` in a table, `items` else. */
export type ListPage = Record<string, unknown> & { items?: readonly unknown[]; rows?: readonly unknown[] };

/** A page in the form asked for. */
export function representPage(endpoint: Endpoint, page: ObjectPage, shape: Shape): ListPage {
  const metadata = {
    resourceVersion: page.resourceVersion,
    ...(page.continue === undefined ? {} : { continue: page.continue }),
    ...(page.remaining === undefined ? {} : { remainingItemCount: page.remaining }),
  };
  if (shape.as === 'Table') return table(endpoint, page.items, metadata, shape, true);
  if (shape.as === 'PartialObjectMetadata')
    return {
      kind: 'PartialObjectMetadataList',
      apiVersion: 'meta.k8s.io/v1',
      metadata,
      items: page.items.map(metadataOnly),
    };
  return { kind: `${endpoint.kind.kind}List`, apiVersion: endpoint.apiVersion, metadata, items: page.items };
}

/** The object of a watch event; only the first table of a watch tells its columns. */
export function representEvent(
  endpoint: Endpoint,
  object: ApiObject,
  isBookmark: boolean,
  first: boolean,
  shape: Shape,
): unknown {
  if (shape.as === 'Object') return object;
  if (shape.as === 'PartialObjectMetadata') return metadataOnly(object);
  const { resourceVersion } = object.metadata;
  return isBookmark
    ? {
        ...table(endpoint, [], { resourceVersion }, shape, first),
        rows: [{ cells: [], object: metadataOnly(object) }],
      }
    : table(endpoint, [object], { resourceVersion }, shape, first);
}

function metadataOnly({ metadata }: ApiObject): unknown {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
}

function table(
  endpoint: Endpoint,
  objects: ApiObject[],
  metadata: object,
  shape: Shape,
  withColumns: boolean,
): ListPage {
  const { columns } = endpoint.version;
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions: withColumns ? columns.map(definition) : null,
    rows: objects.map((object) => ({
      cells: columns.map((column) => column.value(object, shape.nowMs)),
      ...rowObject(object, shape),
    })),
  };
}

function definition({ name, type = 'string', format = undefined, description, priority = 0 }: Column): unknown {
  return { name, type, format: format ?? '', description, priority };
}

function rowObject(object: ApiObject, shape: Shape): object {
  if (shape.includeObject === 'None') return {};
  return { object: shape.includeObject === 'Object' ? object : metadataOnly(object) };
}
