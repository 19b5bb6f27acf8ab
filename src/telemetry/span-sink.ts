import { type ExportResult, ExportResultCode, getNumberFromEnv } from '@opentelemetry/core';
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter, type SpanProcessor } from '@opentelemetry/sdk-trace';

/** Takes spans that ended, and knows how many of them were lost. */
export interface SpanSink extends SpanProcessor {
  dropped(): number;
}

/** Unless `OTEL_BSP_SCHEDULE_DELAY` says otherwise. */
const BATCH_MS = 1000;
/** Spans that wait to be sent; more are lost. */
const MOST_WAITING = 4096;
const REPORT_MS = 60_000;

/** Sends spans in batches. What can't be sent is counted, and told of once a minute at most: requests never wait for it. */
export function createSpanSink(exporter: SpanExporter, failed: (error: Error) => void): SpanSink {
  let waiting = 0;
  let dropped = 0;
  let untold = 0;
  let toldAtMs = Number.NEGATIVE_INFINITY;

  function lose(count: number, why: string): void {
    dropped += count;
    untold += count;
    const nowMs = performance.now();
    if (nowMs - toldAtMs < REPORT_MS) return;
    toldAtMs = nowMs;
    failed(new Error(`${untold} spans were lost: ${why}`));
    untold = 0;
  }

  const batches = new BatchSpanProcessor({
    scheduledDelayMillis: getNumberFromEnv('OTEL_BSP_SCHEDULE_DELAY') ?? BATCH_MS,
    // One more than this lets in, so that the library itself drops nothing that nobody counts.
    maxQueueSize: MOST_WAITING + 1,
    exporter: {
      export: (spans: ReadableSpan[], done: (result: ExportResult) => void) => {
        waiting -= spans.length;
        exporter.export(spans, (result) => {
          if (result.code !== ExportResultCode.SUCCESS) lose(spans.length, reasonOf(result.error));
          done(result);
        });
      },
      shutdown: () => exporter.shutdown(),
    },
  });

  return {
    onStart: () => {},
    onEnd: (span) => {
      if (waiting >= MOST_WAITING) {
        lose(1, 'their receiver is too slow');
        return;
      }
      waiting++;
      batches.onEnd(span);
    },
    forceFlush: () => batches.forceFlush(),
    shutdown: () => batches.shutdown(),
    dropped: () => dropped,
  };
}

/** Status or system error; what the receiver wrote besides is not ours to log. */
function reasonOf(error: Error | undefined): string {
  const { code } = (error ?? {}) as { code?: string | number };
  if (typeof code === 'number') return `their receiver answers ${code}`;
  return `their receiver can not be reached${code === undefined ? '' : ` (${code})`}`;
}
