import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { projectRoot } from '../support/checkout.ts';
import { type RawAnswer, rawRequest } from '../support/raw-request.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

/** 500 in a full run: ENGINE_INTERLEAVINGS=500 npm test -- e2e/interleavings */
const RUNS = Number(process.env.ENGINE_INTERLEAVINGS ?? 6);
const LATE_MS = 100;

type Step =
  | { do: 'request'; path: 'count' | 'head' | 'sleep' }
  | { do: 'pause'; by: 'api' | 'kubectl' }
  | { do: 'resume' }
  | { do: 'wait'; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('request' as const),
      path: fc.constantFrom('count', 'count', 'sleep', 'head'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('pause' as const), by: fc.constantFrom('api', 'kubectl') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('resume' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(0, 5, 20, 60, 120, 250) }),
  },
);

/** Real requests, pauses and wakes of the counter, whose memory tells of each request that was lost or sent twice. */
describe('requests, pauses, wakes and restarts in any order on the engine', {
  skip: missingTool('runsc', 'kubectl'),
  timeout: 7_200_000,
}, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-interleavings-'));
  let up: RunningUp;
  const start = async () => {
    up = await startUp({
      directory: projectRoot,
      stateDirectory,
      command: [
        process.execPath,
        join(projectRoot, 'src/cli/main.ts'),
        'up',
        '--example',
        join(projectRoot, 'deploy/examples/quickstart.yaml'),
      ],
    });
  };
  before(start);
  after(async () => {
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  const authorization = () => ({ authorization: `Bearer ${up.token}` });
  const ask = (method: string, path: string): Promise<RawAnswer> =>
    rawRequest(up.url, { method, path, headers: { ...authorization(), 'x-sandbox-timeout': '30' } });
  const countOf = ({ status, body }: RawAnswer): number => {
    assert.equal(status, 200, body);
    return (JSON.parse(body) as { n: number }).n;
  };
  const api = (verb: string) => up.request(`/-/v1/sandboxes/counter/${verb}`, { method: 'POST' });
  const patch = (mode: string) =>
    up.kubectl('patch', 'sandbox', 'counter', '--type=merge', '-p', JSON.stringify({ spec: { operatingMode: mode } }));
  const failedWakes = async (): Promise<number> => {
    const text = await (await fetch(`${up.adminUrl}/metrics`)).text();
    return Number(/^sandbox_router_wakes_total\{result="failed"\} (\d+)$/m.exec(text)?.[1] ?? 0);
  };

  async function check(steps: readonly Step[]): Promise<void> {
    const first = countOf(await ask('GET', '/counter/'));
    const failedBefore = await failedWakes();
    const counted: Promise<number>[] = [];
    const others: Promise<unknown>[] = [];
    for (const each of steps) {
      if (each.do === 'request' && each.path === 'count') {
        const startedAt = performance.now();
        counted.push(
          ask('GET', '/counter/').then((answer) => {
            const elapsedMs = performance.now() - startedAt;
            assert.ok(elapsedMs < 30_000 + LATE_MS, `${elapsedMs} ms`);
            return countOf(answer);
          }),
        );
      } else if (each.do === 'request' && each.path === 'sleep') {
        others.push(ask('GET', '/counter/sleep?ms=400').then(({ status, body }) => assert.equal(status, 200, body)));
      } else if (each.do === 'request') {
        others.push(
          ask('HEAD', '/counter/').then(({ status }) => assert.ok([200, 409, 502].includes(status), `HEAD: ${status}`)),
        );
      } else if (each.do === 'pause' && each.by === 'api') {
        others.push(api('pause').then(({ status }) => assert.ok([202, 409].includes(status), `pause: ${status}`)));
      } else if (each.do === 'pause') others.push(patch('Suspended'));
      else if (each.do === 'resume') others.push(api('resume').then(({ status }) => assert.equal(status, 202)));
      else await delay(each.ms);
    }
    const [all] = await Promise.all([Promise.all(counted), Promise.all(others)]);
    const numbers = all.sort((left, right) => left - right);
    // Quiet requests that reach it are counted by it too: what it tells must rise by what was asked, and by no more than all.
    assert.equal(new Set(numbers).size, numbers.length, `doubled: ${numbers}`);
    const last = countOf(await ask('GET', '/counter/'));
    const quiet = steps.filter((each) => each.do === 'request' && each.path === 'head').length;
    assert.ok(last >= first + numbers.length + 1 && last <= first + numbers.length + quiet + 1, `${first} … ${last}`);
    const failed = await failedWakes();
    assert.equal(failed, failedBefore, 'no wake failed');
  }

  it(`lose no request and send none twice, ${RUNS} times`, async () => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
        run++;
        if (run % 100 === 50 || (RUNS < 50 && run === 4)) {
          // A killed engine and router find everything as it was, or as it was stopped.
          const before = countOf(await ask('GET', '/counter/'));
          await up.kill();
          await start();
          assert.equal(countOf(await ask('GET', '/counter/')), before + 1, 'nothing is lost by a kill');
        }
        await check(steps);
        if (process.env.ENGINE_INTERLEAVINGS !== undefined && run % 50 === 0) console.log(`${run} of ${RUNS}`);
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
    await until('it can be paused at last', async () => (await api('pause')).status === 202);
  });
});
