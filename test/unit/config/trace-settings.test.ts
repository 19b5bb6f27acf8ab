import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ConfigError, loadSettings, tracesUrl } from '../../../src/config/index.ts';
import { projectRoot } from '../../support/checkout.ts';

const load = (flags: Record<string, unknown>) => loadSettings({ command: 'serve', environment: {}, flags });

describe('settings of traces', () => {
  it('trace nothing where neither a setting nor a variable of OpenTelemetry names a receiver', () => {
    assert.equal(tracesUrl(load({}).tracesEndpoint, {}), undefined);
  });

  it('prefer the setting to the variables, and the variable for traces to the one for all', () => {
    const all = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://all:4318/' };
    const both = { ...all, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://exact/as/it/is' };
    assert.equal(tracesUrl(undefined, all), 'http://all:4318/v1/traces');
    assert.equal(tracesUrl(undefined, both), 'https://exact/as/it/is');
    assert.equal(tracesUrl('http://set:4318', both), 'http://set:4318/v1/traces');
    assert.equal(tracesUrl('none', both), undefined);
    assert.equal(tracesUrl('http://set:4318', { OTEL_SDK_DISABLED: 'true' }), undefined);
  });

  it('refuse what is no URL, what carries credentials, and ratios that are none', () => {
    for (const tracesEndpoint of ['collector:4318', 'ftp://collector', 'http://collector?key=1', '', 'grpc'])
      assert.throws(() => load({ tracesEndpoint }), ConfigError, tracesEndpoint);
    assert.throws(
      () => tracesUrl(load({ tracesEndpoint: 'http://user:hidden@collector' }).tracesEndpoint, {}),
      (error: Error) => /OTEL_EXPORTER_OTLP_HEADERS/.test(error.message) && !error.message.includes('hidden'),
    );
    assert.throws(
      () => tracesUrl(undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector' }),
      /^Error: OTEL_EXPORTER_OTLP/,
    );
    for (const tracesRatio of ['1.5', '-0.1', 'half', '', Number.NaN])
      assert.throws(() => load({ tracesRatio }), ConfigError, String(tracesRatio));
    assert.deepEqual(
      ['0', '0.25', '.5', '1', 1].map((tracesRatio) => load({ tracesRatio }).tracesRatio),
      [0, 0.25, 0.5, 1, 1],
    );
  });

  it('load nothing of OpenTelemetry where there are no traces', () => {
    const loaded = (more: string) => {
      // The API's few constants come with prom-client.
      const program = `await import('./src/cli/serve.ts');
        const { startTraces } = await import('./src/telemetry/index.ts');
        ${more}
        const { default: { _cache } } = await import('node:module');
        console.log(Object.keys(_cache).filter((path) => /@opentelemetry.(?!api)/.test(path)).length);`;
      const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
        cwd: join(projectRoot),
        encoding: 'utf8',
      });
      assert.match(stdout, /^\d+\n$/, stderr);
      return Number(stdout);
    };
    assert.equal(loaded(''), 0);
    const options = `{ url: 'http://127.0.0.1:9/v1/traces', ratio: 1, version: '0', failed: () => {} }`;
    assert.ok(loaded(`await startTraces(${options});`) > 0, 'this would see it');
  });
});
