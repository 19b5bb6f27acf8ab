import { request } from 'undici';
import {
  BUSY_PORT_ANNOTATION,
  BUSY_UNTIL_ANNOTATION,
  BUSY_WHY_ANNOTATION,
  isApiError,
  PODS,
  type Pod,
  type ResourceClient,
} from '../../../kubernetes/index.ts';
import { TOOLBOX } from '../../images/index.ts';
import { mainContainer } from './container-spec.ts';

/** A Pod that runs here and can be asked. */
export interface AskablePod {
  pod: Pod;
  address: string;
}

/** What asking sandboxes for their busy leases needs. */
export interface BusyLeaseOptions {
  client: ResourceClient;
  running(): Iterable<AskablePod>;
  now(): Date;
  failed(what: string, error: unknown): void;
  intervalMs?: number;
}

/** How often each is asked; one that answers otherwise than an agent does is asked less often. */
const INTERVAL_MS = 5000;
const SILENT_MS = 60_000;
const TIMEOUT_MS = 1000;
const MOST_ANSWER_BYTES = 4096;
const LONGEST_MS = 3_600_000;
const MOST_WHY_CHARACTERS = 200;
const ASKED_AT_ONCE = 8;
const AGENT_PORT = 8888;
/** Ends that differ by less are the same: an answer takes a moment. */
const SAME_MS = 2000;
/** A lease that is renewed all the time is written so often. */
const RENEWED_MS = 15_000;

/** What was written of one Pod. */
interface Written {
  untilMs: number;
  why: string;
  atMs: number;
}

/**
 * Asks the agents of running Pods for their busy leases, by HTTP from this machine, as a sandbox has no way out, and writes what they say as annotations of the Pod.
 * What comes from inside is bounded in time and size, and says no more than until when, and why. Returns what ends it.
 */
export function followBusyLeases(options: BusyLeaseOptions): () => void {
  const { client, running, now, failed, intervalMs = INTERVAL_MS } = options;
  const written = new Map<string, Written>();
  const silentUntilMs = new Map<string, number>();
  let asking = false;

  async function follow({ pod, address }: AskablePod, port: number): Promise<void> {
    const uid = pod.metadata.uid ?? '';
    const lease = await ask(address, port);
    if (lease === 'unreachable') return;
    if (lease === 'other') {
      silentUntilMs.set(uid, performance.now() + SILENT_MS);
      return;
    }
    const before = written.get(uid);
    const nowMs = now().getTime();
    if (lease.remainingMs === 0) {
      if (before === undefined) return;
      written.delete(uid);
      // What has ended by itself needs no word.
      if (before.untilMs > nowMs) await write(pod, null, null);
      return;
    }
    const untilMs = nowMs + lease.remainingMs;
    const differsMs = untilMs - (before?.untilMs ?? 0);
    const renewed = differsMs > SAME_MS && nowMs - (before?.atMs ?? 0) >= RENEWED_MS;
    const endsSoon = (before?.untilMs ?? 0) < nowMs + RENEWED_MS && differsMs > SAME_MS;
    if (before !== undefined && !renewed && !endsSoon && differsMs >= -SAME_MS && before.why === lease.why) return;
    await write(pod, new Date(untilMs).toISOString(), lease.why);
    written.set(uid, { untilMs, why: lease.why, atMs: nowMs });
  }

  async function write({ metadata }: Pod, until: string | null, why: string | null): Promise<void> {
    const annotations = { [BUSY_UNTIL_ANNOTATION]: until, [BUSY_WHY_ANNOTATION]: why };
    await client
      .patch(PODS, metadata, { metadata: { uid: metadata.uid, annotations } }, { type: 'merge' })
      .catch((error) => {
        if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
      });
  }

  async function askAll(): Promise<void> {
    const pods = [...running()];
    const uids = new Set(pods.map(({ pod }) => pod.metadata.uid ?? ''));
    for (const map of [written, silentUntilMs]) for (const uid of map.keys()) if (!uids.has(uid)) map.delete(uid);
    const next = pods.values();
    const worker = async () => {
      for (const entry of next) {
        const port = busyPortOf(entry.pod);
        const { uid = '', namespace, name } = entry.pod.metadata;
        if (port === undefined || (silentUntilMs.get(uid) ?? 0) > performance.now()) continue;
        await follow(entry, port).catch((error) => failed(`busy lease of ${namespace}/${name}`, error));
      }
    };
    await Promise.all(Array.from({ length: ASKED_AT_ONCE }, worker));
  }

  const timer = setInterval(() => {
    if (asking) return;
    asking = true;
    askAll().finally(() => {
      asking = false;
    });
  }, intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** Port on which a Pod tells of its lease: by annotation, else the agent's where the toolbox runs it; undefined for others. */
export function busyPortOf(pod: Pod): number | undefined {
  const annotated = Number(pod.metadata.annotations?.[BUSY_PORT_ANNOTATION]);
  if (Number.isInteger(annotated) && annotated >= 1 && annotated <= 65_535) return annotated;
  const { image, command, args } = mainContainer(pod);
  return image === TOOLBOX && command === undefined && args === undefined ? AGENT_PORT : undefined;
}

/** What a sandbox says of its lease; `other` where somebody else answers, `unreachable` where nobody does in time. */
async function ask(
  address: string,
  port: number,
): Promise<{ remainingMs: number; why: string } | 'other' | 'unreachable'> {
  try {
    const { statusCode, body } = await request(`http://${address}:${port}/busy`, {
      headers: { connection: 'close' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
    });
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      if (sizeBytes > MOST_ANSWER_BYTES) break;
      chunks.push(chunk);
    }
    if (statusCode !== 200 || sizeBytes > MOST_ANSWER_BYTES) return 'other';
    const { remainingMs, why } = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
    if (typeof remainingMs !== 'number' || !(remainingMs >= 0)) return 'other';
    const said = typeof why === 'string' ? why.replace(/[\p{Cc}\p{Cf}]/gu, '?').slice(0, MOST_WHY_CHARACTERS) : '';
    return { remainingMs: Math.min(remainingMs, LONGEST_MS), why: said };
  } catch (error) {
    return error instanceof SyntaxError || error instanceof TypeError ? 'other' : 'unreachable';
  }
}
