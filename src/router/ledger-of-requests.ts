import { type Ledger, type LedgerFact, pathOf } from './ledger/index.ts';
import type { Exchange, RequestOutcome } from './proxy/index.ts';
import type { Wake } from './wake/index.ts';

/** Writes how the wake that a request began has ended. One that was given up before its turn was none. */
export function recordWake(ledger: Pick<Ledger, 'record'>, exchange: Exchange, wake: Wake): void {
  const { outcome, phases, route } = wake;
  if (outcome === undefined || (!('pod' in outcome) && wake.admittedAtMs === undefined)) return;
  const { namespace, name, uid } = route.sandbox;
  const durations = phases.durations();
  const fact: LedgerFact = {
    type: 'pod' in outcome ? 'woken' : 'wake_failed',
    cause: { ...exchange.describeUse(), intent: exchange.intent ?? 'use' },
    durationMs: Math.round(performance.now() - phases.startedAtMs),
    phasesMs: Object.fromEntries(durations.map(({ phase, durationMs }) => [phase, Math.round(durationMs)])),
    ...('pod' in outcome ? {} : { code: outcome.code, detail: outcome.detail }),
  };
  ledger.record({ namespace, name, uid }, fact);
}

/** Writes that a request was refused, where its caller may know of the sandbox. What the sandbox did wrong by itself is no refusal. */
export function recordRefusal(ledger: Pick<Ledger, 'record'>, outcome: RequestOutcome): void {
  const { problem, route, request, credentialId = '', intent } = outcome;
  if (problem === undefined || route === undefined || problem.code.startsWith('upstream_')) return;
  const { namespace, name, uid } = route.sandbox;
  const { method = 'GET' } = request;
  ledger.record(
    { namespace, name, uid },
    {
      type: 'refused',
      cause: {
        via: 'request',
        credential: credentialId,
        method,
        path: pathOf(outcome.path()),
        ...(intent === undefined ? {} : { intent }),
      },
      code: problem.code,
      detail: problem.detail,
    },
  );
}
