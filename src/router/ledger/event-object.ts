import { apiVersionOf, EVENTS, type KubernetesObject, LEDGER_ANNOTATION, SANDBOXES } from '../../kubernetes/index.ts';
import { describeFact, LEDGER_TYPES, type LedgerEntry, type LedgerFact, plain } from './entry.ts';

/** Which sandbox. */
export interface LedgerSubject {
  namespace: string;
  name: string;
  uid: string;
}

/** v1 Event, as far as it is read and written here. */
export interface EventObject extends KubernetesObject {
  involvedObject: { apiVersion: string; kind: string; namespace: string; name: string; uid: string };
  type: string;
  reason: string;
  message: string;
  source?: { component?: string; host?: string };
  reportingComponent?: string;
  reportingInstance?: string;
  firstTimestamp?: string | null;
  lastTimestamp?: string | null;
  eventTime?: string | null;
  count?: number;
}

/** Component that writes the ledger. */
const COMPONENT = 'sandbox-router';
const MOST_SOURCES = 10;

/** How often, and when, a fact came about. Milliseconds of the epoch. */
export interface Occurrence {
  firstMs: number;
  lastMs: number;
  count: number;
}

/** The Event of a fact. Times of Events have whole seconds, so the exact ones are in the annotation, with all that the message says in words. */
export function eventOf(
  { namespace, name, uid }: LedgerSubject,
  eventName: string,
  reporter: string,
  fact: LedgerFact,
  occurrence: Occurrence,
): EventObject {
  return {
    apiVersion: apiVersionOf(EVENTS),
    kind: EVENTS.kind,
    metadata: { name: eventName, namespace, ...annotationOf(fact, occurrence) },
    involvedObject: { apiVersion: apiVersionOf(SANDBOXES), kind: SANDBOXES.kind, namespace, name, uid },
    type: fact.type.endsWith('failed') ? 'Warning' : 'Normal',
    reason: reasonOf(fact),
    source: { component: COMPONENT, host: reporter },
    reportingComponent: COMPONENT,
    reportingInstance: reporter,
    firstTimestamp: secondsOf(occurrence.firstMs),
    ...changeOf(fact, occurrence),
  };
}

/** Merge patch of an Event whose fact came about again. */
export function eventPatchOf(fact: LedgerFact, occurrence: Occurrence): unknown {
  return { metadata: annotationOf(fact, occurrence), ...changeOf(fact, occurrence) };
}

function changeOf(fact: LedgerFact, { lastMs, count }: Occurrence) {
  return { message: describeFact(fact), lastTimestamp: secondsOf(lastMs), count };
}

function annotationOf(fact: LedgerFact, { firstMs, lastMs }: Occurrence) {
  return { annotations: { [LEDGER_ANNOTATION]: JSON.stringify({ ...fact, firstMs, lastMs }) } };
}

function secondsOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** `woken` → `Woken`, `pause_failed` → `PauseFailed`. */
function reasonOf({ type }: LedgerFact): string {
  return type.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** What an Event says. Whoever may write Events of a namespace may write anything into one, so nothing in it is taken for granted. */
export function entryOf(event: EventObject): LedgerEntry {
  const { metadata, source, reportingComponent, reportingInstance } = event;
  const component = text(source?.component) ?? text(reportingComponent) ?? '';
  const host = text(source?.host) ?? text(reportingInstance) ?? '';
  const ledger = component === COMPONENT ? parse(metadata.annotations?.[LEDGER_ANNOTATION]) : undefined;
  const stamp = event.eventTime ?? event.firstTimestamp ?? metadata.creationTimestamp;
  const firstMs = ledger?.firstMs ?? millisecondsOf(stamp);
  const lastMs = ledger?.lastMs ?? millisecondsOf(event.lastTimestamp ?? stamp);
  const fact: LedgerFact = ledger?.fact ?? {
    type: 'reported',
    code: plain(event.reason ?? '', 100),
    detail: plain(event.message ?? ''),
  };
  return {
    id: metadata.name,
    summary: describeFact(fact),
    firstAt: new Date(firstMs).toISOString(),
    lastAt: new Date(Math.max(firstMs, lastMs)).toISOString(),
    count: typeof event.count === 'number' && event.count > 0 ? event.count : 1,
    reporter: plain(component === COMPONENT && host !== '' ? host : component, 100),
    ...fact,
  };
}

function parse(json: string | undefined): { fact: LedgerFact; firstMs: number; lastMs: number } | undefined {
  if (json === undefined) return undefined;
  try {
    const raw = JSON.parse(json) as Record<string, unknown>;
    const firstMs = millisecondsOf(raw.firstMs);
    const type = LEDGER_TYPES.find((known) => known === raw.type);
    if (type === undefined || firstMs === 0) return undefined;
    return { fact: factOf(type, raw), firstMs, lastMs: millisecondsOf(raw.lastMs) };
  } catch {
    return undefined;
  }
}

function factOf(type: LedgerFact['type'], raw: Record<string, unknown>): LedgerFact {
  const cause = record(raw.cause);
  const sources = Array.isArray(raw.sources) ? raw.sources.slice(0, MOST_SOURCES).map(record) : undefined;
  const phases = record(raw.phasesMs);
  return {
    type,
    ...(cause === undefined ? {} : { cause: texts(cause) as unknown as NonNullable<LedgerFact['cause']> }),
    ...texts({ code: raw.code, detail: raw.detail }),
    ...(typeof raw.durationMs === 'number' ? { durationMs: raw.durationMs } : {}),
    ...(phases === undefined ? {} : { phasesMs: numbers(phases) }),
    ...(sources === undefined
      ? {}
      : {
          sources: sources.map((entry) => ({
            source: text(entry?.source) ?? '',
            seconds: Number(entry?.seconds) || 0,
          })),
        }),
  };
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function texts(values: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (typeof value === 'string' ? [[name, plain(value)]] : [])),
  );
}

function numbers(values: Record<string, unknown>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (typeof value === 'number' ? [[name, value]] : [])),
  );
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Milliseconds of a timestamp or number; 0 for anything else. */
function millisecondsOf(value: unknown): number {
  const ms = typeof value === 'number' ? value : Date.parse(typeof value === 'string' ? value : '');
  return Number.isFinite(ms) && Math.abs(ms) < 8e15 ? ms : 0;
}
