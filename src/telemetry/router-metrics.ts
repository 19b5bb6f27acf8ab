import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { createPlainHistogram } from './plain-histogram.ts';
import { createTenantMetrics, type TenantMetrics } from './tenant-metrics.ts';

/** What the router counts. The hot path adds to plain numbers; prom-client reads them at scrape time. */
export interface RouterMetrics {
  registry: Registry;
  request(status: number, durationMs: number): void;
  /** A request went to its pod, so long after it came; its wait for a wake aside. */
  forwarded(delayMs: number): void;
  ofTenant: TenantMetrics;
  /** Something was written into the ledger. */
  event(type: string, via: string): void;
  wake(result: 'ok' | 'failed', durationMs: number): void;
  problem(code: string): void;
  /** A connection of HTTP/2 was ended for what its client did. */
  http2Abuse(reason: string): void;
  idlePause(result: 'ok' | 'cancelled' | 'failed'): void;
}

/** Gauges read at scrape time. */
export interface RouterGauges {
  inFlight(): number;
  held(): number;
  heldBytes(): number;
  queuedWakes(): number;
  tunnels(): number;
  http2Connections(): number;
  sleeping(): number;
  sandboxes(): number;
  suspectPods(): number;
  tableEvents(): number;
  tableAgeSeconds(): number;
  unenforcedPods(): number;
  configurationRefused(): number;
  auditLinesDropped(): number;
  traceSpansDropped(): number;
}

const FORWARD_BUCKETS_MS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000];
const BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 60_000, 180_000];

/** Metrics of one router in a registry of their own. */
export function createRouterMetrics(gauges: RouterGauges): RouterMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const byStatus = new Float64Array(1000);

  new Counter({
    name: 'sandbox_router_requests_total',
    help: 'Requests answered, by status code (499: the client left).',
    labelNames: ['code'],
    registers: [registry],
    collect() {
      this.reset();
      byStatus.forEach((count, status) => {
        if (count > 0) this.inc({ code: String(status) }, count);
      });
    },
  });
  const duration = createPlainHistogram(
    registry,
    'sandbox_router_request_duration_seconds',
    'request durations',
    BUCKETS_MS,
  );
  const forwarded = createPlainHistogram(
    registry,
    'sandbox_router_forward_delay_seconds',
    'times from the head of a request until it went to its pod, wakes aside',
    FORWARD_BUCKETS_MS,
  );
  const events = new Counter({
    name: 'sandbox_router_ledger_events_total',
    help: 'What became of sandboxes, by type and by what caused it, as the ledger has it.',
    labelNames: ['type', 'via'],
    registers: [registry],
  });
  const wakes = new Counter({
    name: 'sandbox_router_wakes_total',
    help: 'Wakes that ended, by result.',
    labelNames: ['result'],
    registers: [registry],
  });
  const wakeSeconds = new Histogram({
    name: 'sandbox_router_wake_duration_seconds',
    help: 'Time from the first request of a paused sandbox until its port accepted.',
    buckets: [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 55],
    registers: [registry],
  });
  const problems = new Counter({
    name: 'sandbox_router_problems_total',
    help: 'Requests that the router answered by itself, by problem code.',
    labelNames: ['code'],
    registers: [registry],
  });
  const http2Abuses = new Counter({
    name: 'sandbox_router_http2_abuses_total',
    help: 'Connections of HTTP/2 that were ended for what their clients did, by reason (control_flood, protocol).',
    labelNames: ['reason'],
    registers: [registry],
  });
  const idlePauses = new Counter({
    name: 'sandbox_router_idle_pauses_total',
    help: 'Pauses of idle sandboxes, by result (cancelled: it was used meanwhile).',
    labelNames: ['result'],
    registers: [registry],
  });
  // What every process of one router knows alike is not added up.
  const gauge = (name: string, help: string, read: () => number, aggregator: 'sum' | 'max' = 'sum') =>
    new Gauge({
      name,
      help,
      aggregator,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  gauge('sandbox_router_inflight_requests', 'Requests being answered.', gauges.inFlight);
  gauge('sandbox_router_held_requests', 'Requests held while their sandbox wakes.', gauges.held);
  gauge('sandbox_router_held_bytes', 'Memory that held requests may take, as it is budgeted.', gauges.heldBytes);
  gauge('sandbox_router_queued_wakes', 'Wakes that wait for their turn.', gauges.queuedWakes);
  gauge('sandbox_router_http2_connections', 'Open connections of HTTP/2.', gauges.http2Connections);
  gauge('sandbox_router_open_tunnels', 'Open WebSockets and other upgraded connections.', gauges.tunnels);
  gauge('sandbox_router_sleeping_sockets', 'Connections of clients that sleep with their sandbox.', gauges.sleeping);
  gauge('sandbox_router_table_sandboxes', 'Sandboxes in the routing table.', gauges.sandboxes, 'max');
  gauge(
    'sandbox_router_suspect_pods',
    'Pods with a port that refused connections since their record was last heard of.',
    gauges.suspectPods,
    'max',
  );
  gauge(
    'sandbox_router_table_age_seconds',
    'Time since the API server was last heard of.',
    gauges.tableAgeSeconds,
    'max',
  );
  gauge(
    'sandbox_router_unenforced_pods',
    'Pods that no NetworkPolicy holds to their egress class (0 where egress is not verified).',
    gauges.unenforcedPods,
    'max',
  );
  gauge(
    'sandbox_router_configuration_refused',
    '1 while the configuration file as it is now is refused and an earlier one is in force.',
    gauges.configurationRefused,
    'max',
  );

  new Counter({
    name: 'sandbox_router_table_events_total',
    help: 'Objects and changes of objects taken into the routing table.',
    aggregator: 'max',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(gauges.tableEvents());
    },
  });

  new Counter({
    name: 'sandbox_router_audit_lines_dropped_total',
    help: 'Lines of the audit log that were lost because they could not be written.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(gauges.auditLinesDropped());
    },
  });

  new Counter({
    name: 'sandbox_router_trace_spans_dropped_total',
    help: 'Spans of traces that were lost because their receiver could not be reached or was too slow.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(gauges.traceSpansDropped());
    },
  });

  return {
    registry,
    request: (status, durationMs) => {
      byStatus[status] = (byStatus[status] ?? 0) + 1;
      duration(durationMs);
    },
    forwarded,
    ofTenant: createTenantMetrics(registry),
    event: (type, via) => events.inc({ type, via }),
    wake: (result, durationMs) => {
      wakes.inc({ result });
      wakeSeconds.observe(durationMs / 1000);
    },
    idlePause: (result) => idlePauses.inc({ result }),
    http2Abuse: (reason) => http2Abuses.inc({ reason }),
    problem: (code) => problems.inc({ code }),
  };
}
