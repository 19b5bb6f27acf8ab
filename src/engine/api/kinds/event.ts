import { type ApiObject, text } from '../object.ts';
import { rootSchema } from '../schema/metadata.ts';
import { anyObject, integer, object, required, string, time } from '../schema/schema.ts';
import { age, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

const INVOLVED = ['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'];

const reference = (description: string) =>
  object(description, Object.fromEntries(INVOLVED.map((name) => [name, string(`Its ${name}.`)])));

/** v1 Event: gone after an hour. */
export const event: Kind = {
  group: '',
  plural: 'events',
  singular: 'event',
  kind: 'Event',
  shortNames: ['ev'],
  namespaced: true,
  builtIn: true,
  status: false,
  timeToLiveMs: 3_600_000,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('Something that happened to an object.', {
        involvedObject: required(reference('What it happened to.')),
        reason: string('One CamelCase word: what happened.'),
        message: string('Details for people.'),
        source: object('Who says so.', { component: string('Component.'), host: string('Host.') }),
        firstTimestamp: time('When it happened first.'),
        lastTimestamp: time('When it happened last.'),
        count: integer('How often it happened.'),
        type: string('Normal or Warning.'),
        eventTime: time('When it happened.'),
        series: anyObject('How it goes on.'),
        action: string('What was done.'),
        related: reference('What else it is about.'),
        reportingComponent: string('Controller that says so.'),
        reportingInstance: string('Which instance of it.'),
      }),
      columns: [
        { name: 'Last Seen', description: 'When it happened last.', value: lastSeen },
        fieldColumn('Type', ['type'], 'Normal or Warning.'),
        fieldColumn('Reason', ['reason'], 'What happened.'),
        { name: 'Object', description: 'What it happened to.', value: involved },
        fieldColumn('Subobject', ['involvedObject', 'fieldPath'], 'Which part.', { priority: 1 }),
        { name: 'Source', priority: 1, description: 'Who says so.', value: source },
        { name: 'Message', description: 'Details.', value: (object) => text(object, 'message').trim() },
        {
          name: 'First Seen',
          priority: 1,
          description: 'When it happened first.',
          value: (object, nowMs) => age(text(object, 'firstTimestamp') || text(object, 'eventTime'), nowMs),
        },
        { name: 'Count', priority: 1, description: 'How often.', value: (object) => text(object, 'count') || '1' },
        { ...nameColumn, priority: 1 },
      ],
    },
  ],
  selectableFields: {
    ...Object.fromEntries(
      INVOLVED.map((name) => [`involvedObject.${name}`, (object: ApiObject) => text(object, 'involvedObject', name)]),
    ),
    reason: (object) => text(object, 'reason'),
    type: (object) => text(object, 'type'),
    reportingComponent: (object) => text(object, 'reportingComponent'),
    source: (object) => text(object, 'source', 'component') || text(object, 'reportingComponent'),
  },
};

function lastSeen(object: ApiObject, nowMs: number): string {
  const last = text(object, 'series', 'lastObservedTime') || text(object, 'lastTimestamp') || text(object, 'eventTime');
  return age(last || object.metadata.creationTimestamp, nowMs);
}

function involved(object: ApiObject): string {
  return `${text(object, 'involvedObject', 'kind').toLowerCase()}/${text(object, 'involvedObject', 'name')}`;
}

function source(object: ApiObject): string {
  const component = text(object, 'source', 'component') || text(object, 'reportingComponent');
  const host = text(object, 'source', 'host') || text(object, 'reportingInstance');
  return host === '' ? component : `${component}, ${host}`;
}
