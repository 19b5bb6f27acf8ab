import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ConfigError, loadSettings, nearest, parseDurationMs, parseListenAddress } from '../../../src/config/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-config-'));
after(() => rmSync(directory, { recursive: true }));

function fileWith(text: string): string {
  const path = join(directory, 'sandbox-router.yaml');
  writeFileSync(path, text);
  return path;
}

describe('settings', () => {
  it('take the command’s defaults where nobody says otherwise', () => {
    const up = loadSettings({ command: 'up', environment: {}, flags: {} });
    const serve = loadSettings({ command: 'serve', environment: {}, flags: {} });
    assert.deepEqual(
      [up.listen, up.adminListen, up.engineListen, up.baseDomain],
      ['127.0.0.1:8080', '127.0.0.1:9090', '127.0.0.1:6440', 'localhost'],
    );
    assert.deepEqual([serve.listen, serve.adminListen, serve.baseDomain], ['0.0.0.0:8080', '0.0.0.0:9090', undefined]);
  });

  it('prefer flags to environment to file', () => {
    const file = fileWith('listen: 127.0.0.1:1\nadminListen: 127.0.0.1:1\nengineListen: 127.0.0.1:1\n');
    const environment = { SANDBOX_ROUTER_LISTEN: '127.0.0.1:2', SANDBOX_ROUTER_ADMIN_LISTEN: '127.0.0.1:2' };
    const loaded = loadSettings({ command: 'up', file, environment, flags: { listen: '127.0.0.1:3' } });
    assert.deepEqual(
      [loaded.listen, loaded.adminListen, loaded.engineListen],
      ['127.0.0.1:3', '127.0.0.1:2', '127.0.0.1:1'],
    );
  });

  const refused: [
    name: string,
    sources: { text?: string; environment?: Record<string, string>; flags?: Record<string, unknown> },
    message: RegExp,
  ][] = [
    [
      'an unknown key in the file',
      { text: 'lisen: 127.0.0.1:1' },
      /Unknown setting "lisen" in .*Did you mean "listen"/,
    ],
    [
      'an unknown variable',
      { environment: { SANDBOX_ROUTER_LISTENN: 'x' } },
      /"SANDBOX_ROUTER_LISTENN".*Did you mean "SANDBOX_ROUTER_LISTEN"/,
    ],
    ['a file that is no mapping', { text: '- listen' }, /a mapping of settings is wanted/],
    ['a file that is no YAML', { text: 'listen: [' }, /Can't read the configuration file/],
    ['a port out of range', { flags: { listen: '127.0.0.1:70000' } }, /--listen must be host:port.*"127.0.0.1:70000"/],
    [
      'an unknown runtime',
      { environment: { SANDBOX_ROUTER_RUNTIME: 'docker' } },
      /SANDBOX_ROUTER_RUNTIME must be one of auto, gvisor, process, not "docker"/,
    ],
    ['a duration without unit', { text: 'holdTimeout: "55"' }, /holdTimeout in .* must be a duration such as/],
    ['a negative count', { text: 'heldTotal: -1' }, /heldTotal in .* must be a whole number/],
  ];
  for (const [name, { text, environment = {}, flags = {} }, message] of refused) {
    it(`refuse ${name}`, () => {
      const file = text === undefined ? undefined : fileWith(text);
      assert.throws(
        () => loadSettings({ command: 'up', file, environment, flags }),
        (error) => error instanceof ConfigError && message.test(error.message),
      );
    });
  }
});

describe('values', () => {
  for (const [text, milliseconds] of [
    ['250ms', 250],
    ['55s', 55_000],
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
  ] as const)
    it(`read ${text} as ${milliseconds} ms`, () => assert.equal(parseDurationMs(text), milliseconds));
  for (const text of ['', '10', 's', '1y', '-5s', '5s!'])
    it(`refuse ${JSON.stringify(text)} as a duration`, () => assert.throws(() => parseDurationMs(text)));
  it('read listen addresses', () => {
    assert.deepEqual(parseListenAddress('[::1]:80'), { host: '::1', port: 80 });
    assert.deepEqual(parseListenAddress(':80'), { host: '0.0.0.0', port: 80 });
    assert.throws(() => parseListenAddress('localhost'));
  });
  it('find the nearest name', () => assert.equal(nearest('adminlisten', ['listen', 'adminListen']), 'adminListen'));
});
