import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { createHttpResourceClient, loadKubeConfig, type Sandbox } from '../../src/kubernetes/index.ts';
import { createReady } from '../integration/world.ts';
import { projectRoot } from '../support/checkout.ts';
import { freePort } from '../support/free-port.ts';
import { programSandbox } from '../support/program-sandbox.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const CHROMIUM = '/usr/bin/chromium';
const skip = existsSync(CHROMIUM) ? false : `${CHROMIUM} is missing`;

/** `up` with the process runtime and two sandboxes that run the application. */
interface BrowserWorld {
  up: RunningUp;
  browser: Browser;
  /** A context that shares nothing with others. */
  context(): Promise<BrowserContext>;
  link(sandbox: string, more?: object): Promise<string>;
  port: string;
  close(): Promise<void>;
}

async function browserWorld(flags: string[], names: string[]): Promise<BrowserWorld> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-browser-'));
  const command = [process.execPath, join(projectRoot, 'src/cli/main.ts'), 'up', ...flags];
  const up = await startUp({ directory: projectRoot, stateDirectory, command, runtime: 'process' });
  const client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
  for (const name of names) await createReady(client, await appSandbox(name));
  await client.close();
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  return {
    up,
    browser,
    context: () => browser.newContext(),
    link: async (sandbox, more = {}) => {
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify({ sandbox, ...more });
      const response = await up.request('/-/v1/links', { method: 'POST', headers, body });
      assert.equal(response.status, 201, await response.clone().text());
      return ((await response.json()) as { url: string }).url;
    },
    port: new URL(up.url).port,
    close: async () => {
      await browser.close();
      await up.interrupt();
      rmSync(stateDirectory, { recursive: true, force: true });
    },
  };
}

async function appSandbox(name: string): Promise<Sandbox> {
  const port = await freePort();
  const environment = { APP_PORT: String(port), APP_NAME: name };
  return programSandbox({ name, program: 'browser-app.mjs', port, environment });
}

/** Everything that an ordinary application does, from its first page on. */
async function useApplication(page: Page, base: string): Promise<void> {
  await page.goto(`${base}/`);
  await page.waitForFunction('globalThis.loaded === true');
  assert.equal(await page.textContent('#h'), 'hello');
  await page.goto(`${base}/form`);
  await page.click('#go');
  await page.waitForURL('**/home');
  assert.equal(await page.textContent('#who'), 'logged in');
  const seen = (await page.evaluate("fetch('api').then((answer) => answer.json())")) as {
    cookies: string;
    headers: string[];
  };
  assert.match(seen.cookies, /login=yes/);
  assert.doesNotMatch(JSON.stringify(seen), /s1\.up|l1\.up|sandbox-router=/, 'nothing of ours reaches it');
  const message = await page.evaluate(`new Promise((resolve, reject) => {
    const socket = new WebSocket(new URL('socket', location.href).href.replace(/^http/, 'ws'));
    socket.onmessage = ({ data }) => { socket.close(); resolve(data); };
    socket.onerror = () => reject(new Error('no WebSocket'));
  })`);
  assert.equal(message, 'hello');
}

/** What hostile code finds out: each attempt tells what it got, or why not. */
function attack(target: string, router: string): string {
  return `(async () => {
    const found = {};
    const attempt = async (name, act) => {
      try { found[name] = String(await act()); } catch (error) { found[name] = 'failed: ' + error.name; }
    };
    await attempt('read', () => fetch(${JSON.stringify(`${target}/secret`)}, { credentials: 'include' }).then((a) => a.text()));
    await attempt('write', () => fetch(${JSON.stringify(`${target}/login`)}, { method: 'POST', credentials: 'include', mode: 'no-cors' }).then((a) => a.type));
    await attempt('cookies', () => document.cookie);
    await attempt('storage', () => localStorage.getItem('secret'));
    await attempt('worker', () => navigator.serviceWorker.register('worker.js', { scope: '/' }).then((r) => 'registered ' + r.scope));
    await attempt('api', () => fetch(${JSON.stringify(`${router}/-/v1/sandboxes`)}, { credentials: 'include' }).then((a) => 'status ' + a.status));
    await attempt('frame', () => new Promise((resolve) => {
      const frame = document.createElement('iframe');
      frame.onload = () => { try { resolve(frame.contentDocument.body.textContent); } catch (error) { resolve('failed: ' + error.name); } };
      frame.src = ${JSON.stringify(`${target}/secret`)};
      document.body.append(frame);
    }));
    await attempt('window', () => new Promise((resolve) => {
      const opened = window.open(${JSON.stringify(`${target}/secret`)});
      setTimeout(() => { try { resolve(opened.document.body.textContent); } catch (error) { resolve('failed: ' + error.name); } }, 1500);
    }));
    await attempt('socket', () => new Promise((resolve) => {
      const socket = new WebSocket(${JSON.stringify(`${target}/socket`.replace(/^http/, 'ws'))});
      socket.onmessage = ({ data }) => resolve(data);
      socket.onerror = () => resolve('failed: refused');
    }));
    return found;
  })()`;
}

function assertNothingFound(found: Record<string, string>): void {
  for (const [name, what] of Object.entries(found)) {
    assert.doesNotMatch(what, /the secret of|hello|registered|status 2|s1\.|value of app/, `${name}: ${what}`);
  }
  assert.equal(Object.keys(found).length, 9, JSON.stringify(found));
}

describe('a browser, with an origin for each sandbox', { skip, timeout: 240_000 }, () => {
  let world: BrowserWorld;
  const origin = (name: string) => `http://${name}--default.localhost:${world.port}`;
  before(async () => {
    world = await browserWorld([], ['app', 'evil']);
  });
  after(() => world?.close());

  it('gets in by a link, once where it is for one use, and the URL loses the token', async () => {
    const page = await (await world.context()).newPage();
    const link = await world.link('app', { oneUse: true, path: '/home' });
    await page.goto(link);
    assert.equal(page.url(), `${origin('app')}/home`);
    const [cookie] = await page.context().cookies();
    assert.deepEqual([cookie?.httpOnly, cookie?.sameSite, cookie?.domain], [true, 'Lax', 'app--default.localhost']);
    const again = await (await world.context()).newPage();
    assert.equal((await again.goto(link))?.status(), 403);
    assert.equal((await again.goto(`${origin('app')}/`))?.status(), 401);
  });

  it('is out when the link has ended', async () => {
    const page = await (await world.context()).newPage();
    await page.goto(await world.link('app', { lifetime: '4s' }));
    assert.equal((await page.reload())?.status(), 200);
    const deadlineMs = performance.now() + 30_000;
    let status = 200;
    while (status === 200 && performance.now() < deadlineMs) status = (await page.reload())?.status() ?? 0;
    assert.equal(status, 401);
  });

  it('uses an ordinary application, and is led to it from its path', async () => {
    const page = await (await world.context()).newPage();
    await page.goto(await world.link('app'));
    await useApplication(page, origin('app'));
    await page.goto(`${world.up.url}/app.default/home`);
    assert.equal(page.url(), `${origin('app')}/home`);
    assert.equal(await page.textContent('#who'), 'logged in');
    const names = (await page.context().cookies()).map(({ name, domain }) => `${domain} ${name}`);
    assert.ok(!names.some((name) => name.startsWith('.')), names.join());
  });

  it('keeps a hostile sandbox from another, and from the router', async () => {
    const context = await world.context();
    const page = await context.newPage();
    await page.goto(await world.link('app'));
    await page.evaluate("localStorage.setItem('secret', 'value of app'); document.cookie = 'visible=value of app'");
    await page.goto(await world.link('evil'));
    await page.goto(`${origin('evil')}/hostile`);
    const found = (await page.evaluate(attack(origin('app'), world.up.url))) as Record<string, string>;
    assertNothingFound({ ...found, worker: '' });
    await page.goto(`${origin('app')}/secret`);
    assert.equal(await page.textContent('#secret'), 'the secret of app', 'its session is still there');
    assert.equal(await page.evaluate("localStorage.getItem('secret')"), 'value of app');
  });

  it('shows why not, as a page', async () => {
    const page = await (await world.context()).newPage();
    const answer = await page.goto(`${origin('app')}/`);
    assert.equal(answer?.status(), 401);
    assert.equal(await page.textContent('h1'), 'Not authenticated');
    assert.match((await page.textContent('p')) ?? '', /Open a link/);
  });

  it('the command line prints links, and narrows them', async () => {
    const run = (input: string, ...rest: string[]) =>
      execFileSync(process.execPath, [join(projectRoot, 'src/cli/main.ts'), 'link', ...rest], {
        encoding: 'utf8',
        input,
      });
    const token = ['--router', world.up.url, '--token', join(world.up.stateDirectory, 'token')];
    const link = run('', 'app', '--path', '/home', ...token).trim();
    const narrowed = run(link, '--narrow', '-', '--path-prefix', '/secret').trim();
    const page = await (await world.context()).newPage();
    assert.equal((await page.goto(narrowed))?.status(), 200);
    assert.equal(page.url(), `${origin('app')}/secret`);
    assert.equal((await page.goto(`${origin('app')}/home`))?.status(), 403);
  });
});

describe('a browser, with sandboxes below one host', { skip, timeout: 240_000 }, () => {
  let world: BrowserWorld;
  let trusting: BrowserWorld;
  // Names with -- have no host form.
  const base = ({ up }: BrowserWorld, name: string) => `${up.url}/${name}.default`;
  before(async () => {
    world = await browserWorld([], ['path--app', 'path--evil']);
    trusting = await browserWorld(['--trust-content'], ['path--app', 'path--evil']);
  });
  after(async () => {
    await world?.close();
    await trusting?.close();
  });

  it('gets in by a link, to one sandbox alone', async () => {
    const page = await (await world.context()).newPage();
    await page.goto(await world.link('path--app', { path: '/secret' }));
    assert.equal(page.url(), `${base(world, 'path--app')}/secret`);
    assert.equal(await page.textContent('#secret'), 'the secret of path--app');
    const [cookie] = await page.context().cookies();
    assert.deepEqual([cookie?.httpOnly, cookie?.path], [true, '/path--app.default']);
    assert.equal((await page.goto(`${base(world, 'path--evil')}/`))?.status(), 401);
  });

  it('keeps a hostile sandbox from another, and from the router', async () => {
    const page = await (await world.context()).newPage();
    await page.goto(await world.link('path--app'));
    await page.goto(await world.link('path--evil'));
    await page.goto(`${base(world, 'path--evil')}/hostile`);
    assert.equal(await page.evaluate('origin'), 'null');
    const attempts = attack(base(world, 'path--app'), world.up.url);
    assertNothingFound((await page.evaluate(attempts)) as Record<string, string>);
    await page.goto(`${base(world, 'path--app')}/secret`);
    assert.equal(await page.textContent('#secret'), 'the secret of path--app', 'its session is still there');
  });

  it('shows by the same attempts what is not kept apart where sandboxes trust one another', async () => {
    const page = await (await trusting.context()).newPage();
    await page.goto(await trusting.link('path--app'));
    await page.evaluate("localStorage.setItem('secret', 'value of app')");
    await page.goto(await trusting.link('path--evil'));
    const attempts = attack(base(trusting, 'path--app'), trusting.up.url);
    const found = (await page.evaluate(attempts)) as Record<string, string>;
    for (const name of ['read', 'frame', 'window']) assert.match(found[name] ?? '', /the secret of path--app/, name);
    assert.equal(found.storage, 'value of app');
    assert.equal(found.socket, 'hello');
    assert.equal(found.api, 'status 401');
    assert.doesNotMatch(found.cookies ?? '', /sandbox-router/);
  });

  it('uses an ordinary application where sandboxes trust one another', async () => {
    const page = await (await trusting.context()).newPage();
    await page.goto(await trusting.link('path--app'));
    await useApplication(page, base(trusting, 'path--app'));
  });
});
