import { hostname } from 'node:os';
import {
  type Context,
  defaultTextMapGetter,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapSetter,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { ParentBasedSampler, TraceIdRatioBasedSampler, TracerProvider } from '@opentelemetry/sdk-trace';
import { createSpanSink } from './span-sink.ts';
import type { RequestTrace, TracedOutcome, TracedPhases, TracedRequest, TraceOptions, Traces } from './traces.ts';

const propagator = new W3CTraceContextPropagator();
/** Others are `_OTHER` (semantic conventions): a method is up to the caller, and names of spans must be few. */
const KNOWN_METHODS = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
  'QUERY',
]);
/** Templates of what each form's paths look like; a path itself can carry secrets, and is told nowhere. */
const ROUTES = {
  path: '/{sandbox}/{rest}',
  host: '/{rest}',
  header: '/{rest}',
  prefix: '/{prefix}/{namespace}/{sandbox}/{port}/{rest}',
};

/** Traces that are sent to an OTLP receiver. A process of its own name in `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` keeps it. */
export function createTraces({ url, ratio, version, failed }: TraceOptions): Traces {
  const sink = createSpanSink(new OTLPTraceExporter({ url }), failed);
  const own = resourceFromAttributes({
    'service.name': 'sandbox-router',
    'service.version': version,
    'host.name': hostname(),
    'process.pid': process.pid,
  });
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(own)
      .merge(detectResources({ detectors: [envDetector] })),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) }),
    spanProcessors: [sink],
  });
  const tracer = provider.getTracer('sandbox-router', version);
  return {
    begin: (request, startedAtMs) => new OtelRequestTrace(tracer, request, startedAtMs),
    droppedSpans: sink.dropped,
    close: async (timeoutMs) => {
      const timeout = Promise.withResolvers<void>();
      const timer = setTimeout(timeout.resolve, timeoutMs);
      // What fails was counted and told of.
      await Promise.race([provider.shutdown().catch(() => {}), timeout.promise]);
      clearTimeout(timer);
    },
  };
}

/** A class, as one is made for every request. */
class OtelRequestTrace implements RequestTrace {
  form: RequestTrace['form'] = undefined;
  private readonly tracer: Tracer;
  private readonly method: string;
  private readonly startedAtMs: number;
  /** Wall clock at zero of the monotonic one, as of this request: the two drift apart over weeks. */
  private readonly epochMs = Date.now() - performance.now();
  private readonly server: Span;
  private readonly context: Context;
  private readonly waits: TracedPhases[] = [];
  private client: Span | undefined = undefined;

  constructor(tracer: Tracer, { method = 'GET', httpVersion, headers }: TracedRequest, startedAtMs: number) {
    this.tracer = tracer;
    this.method = KNOWN_METHODS.has(method) ? method : '_OTHER';
    this.startedAtMs = startedAtMs;
    const caller = propagator.extract(ROOT_CONTEXT, headers, defaultTextMapGetter);
    this.server = tracer.startSpan(
      this.method === '_OTHER' ? 'HTTP' : this.method,
      {
        kind: SpanKind.SERVER,
        startTime: this.epochMs + startedAtMs,
        attributes: {
          'http.request.method': this.method,
          'network.protocol.version': httpVersion === '2.0' ? '2' : httpVersion,
        },
      },
      caller,
    );
    this.context = trace.setSpan(caller, this.server);
  }

  get traceId(): string {
    return this.server.spanContext().traceId;
  }

  waitsFor(phases: TracedPhases): void {
    if (!this.waits.includes(phases)) this.waits.push(phases);
  }

  forward(headers: string[], address: string, port: number): void {
    let { context } = this;
    if (this.server.isRecording()) {
      this.client ??= this.tracer.startSpan(
        this.method === '_OTHER' ? 'HTTP' : this.method,
        {
          kind: SpanKind.CLIENT,
          startTime: this.epochMs + performance.now(),
          attributes: { 'http.request.method': this.method, 'server.address': address, 'server.port': port },
        },
        context,
      );
      context = trace.setSpan(context, this.client);
    }
    for (let index = headers.length - 2; index >= 0; index -= 2)
      if (/^trace(parent|state)$/i.test(headers[index] as string)) headers.splice(index, 2);
    propagator.inject(context, headers, pushHeader);
  }

  end(outcome: TracedOutcome): void {
    const endMs = this.startedAtMs + outcome.durationMs;
    if (this.server.isRecording()) {
      for (const phases of this.waits) this.addPhases(phases, endMs);
      if (this.client !== undefined) {
        const answered = outcome.problem === undefined && outcome.status !== 499;
        this.endSpan(this.client, endMs, outcome, answered ? outcome.status : undefined);
      }
      this.describe(outcome);
    }
    this.endSpan(this.server, endMs, outcome, outcome.status);
  }

  private describe({ sandbox, namespace, tenant, problem, requestId }: TracedOutcome): void {
    const { server, form } = this;
    if (form !== undefined) {
      server.updateName(`${this.method === '_OTHER' ? 'HTTP' : this.method} ${ROUTES[form]}`);
      server.setAttribute('http.route', ROUTES[form]);
      server.setAttribute('sandbox_router.address_form', form);
    }
    if (sandbox !== undefined) server.setAttribute('sandbox_router.sandbox', sandbox);
    if (namespace !== undefined) server.setAttribute('sandbox_router.namespace', namespace);
    if (tenant !== undefined) server.setAttribute('sandbox_router.tenant', tenant);
    if (problem !== undefined) server.setAttribute('sandbox_router.problem', problem.code);
    if (requestId !== undefined) server.setAttribute('sandbox_router.request_id', requestId);
  }

  private endSpan(span: Span, endMs: number, { status, problem }: TracedOutcome, answered: number | undefined): void {
    if (answered !== undefined) span.setAttribute('http.response.status_code', answered);
    // 4xx is the caller's error, not the server's: only a client's span fails with it.
    if (status >= 500 || (problem !== undefined && answered === undefined)) {
      span.setAttribute('error.type', problem?.code ?? String(status));
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end(this.epochMs + endMs);
  }

  /** A wake is shared: of one that began before, what was over by then is not told. */
  private addPhases(phases: TracedPhases, endMs: number): void {
    let phaseStartMs = phases.startedAtMs;
    for (const { phase, durationMs } of phases.durations()) {
      this.addPhase(phase, phaseStartMs, Math.min(phaseStartMs + durationMs, endMs), false);
      phaseStartMs += durationMs;
    }
    const unfinished = phases.current();
    if (unfinished !== undefined && this.client === undefined) this.addPhase(unfinished, phaseStartMs, endMs, true);
  }

  private addPhase(phase: string, startMs: number, endMs: number, unfinished: boolean): void {
    if (endMs < this.startedAtMs || startMs > endMs) return;
    const startTime = this.epochMs + Math.max(startMs, this.startedAtMs);
    const span = this.tracer.startSpan(`wake ${phase}`, { startTime }, this.context);
    span.setAttribute('sandbox_router.wake_phase', phase);
    if (unfinished) span.setAttribute('sandbox_router.unfinished', true);
    span.end(this.epochMs + endMs);
  }
}

const pushHeader: TextMapSetter<string[]> = {
  set: (headers, name, value) => {
    headers.push(name, value);
  },
};
