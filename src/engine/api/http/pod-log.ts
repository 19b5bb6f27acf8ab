import { badRequest, failure } from '../errors.ts';
import { type ApiObject, items, text } from '../object.ts';
import { isSet } from './flag.ts';

/** What a reader of a Pod's log wants. */
export interface PodLogOptions {
  container: string;
  follow: boolean;
  previous: boolean;
  timestamps: boolean;
  tailLines?: number;
  sinceSeconds?: number;
  sinceTime?: string;
  limitBytes?: number;
  /** Aborted when the reader leaves. */
  signal: AbortSignal;
}

/** Gives a Pod's log in pieces; throws ApiError before the first piece when there is none. */
export type PodLogs = (namespace: string, name: string, options: PodLogOptions) => AsyncIterable<Buffer>;

/** Reads log options of a query for this Pod. @throws ApiError BadRequest naming the option and, for a container, the choices */
export function parseLogOptions(pod: ApiObject, query: Record<string, string>, signal: AbortSignal): PodLogOptions {
  return {
    container: chooseContainer(pod, query.container),
    follow: isSet(query.follow),
    previous: isSet(query.previous),
    timestamps: isSet(query.timestamps),
    ...count(query, 'tailLines'),
    ...count(query, 'limitBytes'),
    ...since(query),
    signal,
  };
}

/** The container that is meant: the named one, or the only one. @throws ApiError BadRequest with the choices */
export function chooseContainer(pod: ApiObject, wanted: string | undefined): string {
  const { name } = pod.metadata;
  const main = items(pod, 'spec', 'containers').map((container) => text(container, 'name'));
  const all = [...items(pod, 'spec', 'initContainers').map((container) => text(container, 'name')), ...main];
  if (wanted === undefined || wanted === '') {
    if (main.length === 1) return main[0] as string;
    throw badRequest(`a container name must be specified for pod ${name}, choose one of: [${all.join(' ')}]`);
  }
  if (!all.includes(wanted)) throw badRequest(`container ${wanted} is not valid for pod ${name}`);
  return wanted;
}

function since(query: Record<string, string>): Pick<PodLogOptions, 'sinceSeconds' | 'sinceTime'> {
  const { sinceTime = '' } = query;
  const seconds = count(query, 'sinceSeconds');
  if (sinceTime === '') return seconds;
  if (seconds.sinceSeconds !== undefined)
    throw wrongOption('sinceSeconds: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified');
  if (Number.isNaN(Date.parse(sinceTime)))
    throw badRequest(`sinceTime: Invalid value: ${JSON.stringify(sinceTime)}: must be an RFC 3339 time`);
  return { sinceTime };
}

function wrongOption(what: string): Error {
  return failure(422, 'Invalid', `PodLogOptions.core "" is invalid: ${what}`);
}

function count<Name extends string>(query: Record<string, string>, name: Name): { [key in Name]?: number } {
  const value = query[name];
  if (value === undefined || value === '') return {};
  if (!/^\d+$/.test(value)) throw wrongOption(`${name}: Invalid value: ${value}: must be greater than or equal to 0`);
  return { [name]: Number(value) } as { [key in Name]: number };
}
