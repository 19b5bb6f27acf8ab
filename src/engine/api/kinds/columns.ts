import { type ApiObject, condition, text } from '../object.ts';
import type { Column } from './kind.ts';

/** NAME, first in every table. */
export const nameColumn: Column = {
  name: 'Name',
  format: 'name',
  description: 'Name of the object.',
  value: (object) => object.metadata.name,
};

/** AGE of the object. */
export const ageColumn: Column = {
  name: 'Age',
  description: 'Time since the object was created.',
  value: (object, nowMs) => age(object.metadata.creationTimestamp, nowMs),
};

/** A column that shows one field. */
export function fieldColumn(name: string, path: string[], description: string, options: Partial<Column> = {}): Column {
  const value = (object: ApiObject) => {
    const found = text(object, ...path);
    return options.type === 'integer' && found !== '' ? Number(found) : found;
  };
  return { name, description, value, ...options };
}

/** A column that shows a condition's status or reason. */
export function conditionColumn(name: string, type: string, part: 'status' | 'reason', description: string): Column {
  return { name, description, value: (object: ApiObject) => condition(object, type)?.[part] ?? '' };
}

/** Age of a time stamp in kubectl's words. */
export function age(timestamp: string | undefined, nowMs: number): string {
  if (timestamp === undefined || timestamp === '') return '<unknown>';
  return humanDuration(nowMs - Date.parse(timestamp));
}

/**
 * A duration as kubectl prints it: two units at most, the second dropped once the first says enough (k8s.io/apimachinery
 * pkg/util/duration, HumanDuration).
 */
export function humanDuration(durationMs: number): string {
  const seconds = Math.floor(durationMs / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (hours < 192) return pair(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 ? pair(years, 'y', days % 365, 'd') : `${years}y`;
}

function pair(first: number, firstUnit: string, second: number, secondUnit: string): string {
  return second === 0 ? `${first}${firstUnit}` : `${first}${firstUnit}${second}${secondUnit}`;
}
