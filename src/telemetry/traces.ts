/** Spans of requests and where they go. */
export interface Traces {
  /** Begins the span of a request that came at `startedAtMs` of the monotonic clock, in the trace that its caller has begun, if any. */
  begin(request: TracedRequest, startedAtMs: number): RequestTrace;
  /** Spans that were lost: the receiver does not take them, or not fast enough. */
  droppedSpans(): number;
  /** Sends what is left, for so long at most. */
  close(timeoutMs: number): Promise<void>;
}

/** What a span tells of the request itself. */
export interface TracedRequest {
  method?: string | undefined;
  httpVersion: string;
  headers: Record<string, string | string[] | undefined>;
}

/** What a request waited for: a wake's phases, on the monotonic clock. */
export interface TracedPhases {
  readonly startedAtMs: number;
  /** The phase under way; undefined when all have ended. */
  current(): string | undefined;
  durations(): readonly { phase: string; durationMs: number }[];
}

/** What became of a traced request. */
export interface TracedOutcome {
  status: number;
  durationMs: number;
  sandbox: string | undefined;
  namespace: string | undefined;
  tenant: string | undefined;
  problem: { code: string } | undefined;
  requestId: string | undefined;
}

/** The trace of one request. */
export interface RequestTrace {
  readonly traceId: string;
  /** By which form of address it named its sandbox. */
  form: 'path' | 'host' | 'header' | 'prefix' | undefined;
  /** It waits for a wake, whose phases are read when the request ends. */
  waitsFor(phases: TracedPhases): void;
  /** It goes to a pod now: puts the context of that into the headers (name, value, …) in place of the caller's. */
  forward(headers: string[], address: string, port: number): void;
  /** It ended. */
  end(outcome: TracedOutcome): void;
}

/** Where traces are sent, and how many. */
export interface TraceOptions {
  /** Whole URL of an OTLP receiver over HTTP. */
  url: string;
  /** Part of the traces that begin here which are kept. */
  ratio: number;
  version: string;
  /** Told that spans were lost, once a minute at most. */
  failed(error: Error): void;
}

/** Traces over OpenTelemetry, which is loaded for this: who has no traces pays nothing for it. */
export async function startTraces(options: TraceOptions): Promise<Traces> {
  const { createTraces } = await import('./otel-traces.ts');
  return createTraces(options);
}
