import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, routerReady } from './world.ts';

/** Run in the browser; a text, as its globals are not those of this program. */
const FOLLOW_A_WAKE = `(async () => {
  const accepted = await fetch('/slow-followed/', { headers: { prefer: 'respond-async' } });
  const source = new EventSource(accepted.headers.get('location'));
  const seen = new Set();
  await new Promise((resolve) => {
    source.addEventListener('phase', (event) => seen.add(JSON.parse(event.data).phase));
    source.addEventListener('end', (event) => {
      seen.add('end: ' + JSON.parse(event.data).status);
      source.close();
      resolve();
    });
  });
  return [...seen];
})()`;
const CHROMIUM = '/usr/bin/chromium';

describe('the page of a browser that waits', {
  skip: missingTool('etcd', 'kube-apiserver') || (existsSync(CHROMIUM) ? false : 'no Chromium'),
  timeout: 200_000,
}, () => {
  let world: ClusterWorld;
  let router: ServeProcess;
  let browser: Browser;

  before(async () => {
    world = await clusterWorld({ startMs: ({ metadata: { name } }) => (name.startsWith('slow') ? 4500 : 100) });
    router = await world.anotherRouter(['--shutdown-delay', '0s']);
    await routerReady(router);
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  });
  after(async () => {
    await browser?.close();
    await router?.stop('SIGKILL');
    await world?.close();
  });

  async function asleep(name: string): Promise<void> {
    await createReady(world.client, echoSandbox(name));
    await pause(world.client, name);
    await until('the router knows that it is paused', async () => {
      const answer = await fetch(`${router.url}/-/v1/sandboxes/${name}`, { headers });
      return answer.ok && ((await answer.json()) as { state: string }).state === 'paused';
    });
  }
  const headers = {
    get authorization() {
      return `Bearer ${world.token}`;
    },
  };
  /** A page, and everything that the browser complains of in it. */
  async function openPage(options: BrowserContextOptions = {}): Promise<{ page: Page; complaints: string[] }> {
    const context = await browser.newContext({
      extraHTTPHeaders: { authorization: headers.authorization },
      ...options,
    });
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => (message.type() === 'error' ? complaints.push(message.text()) : undefined));
    page.on('pageerror', (error) => complaints.push(error.message));
    return { page, complaints };
  }
  const originOf = (name: string) => router.url.replace('127.0.0.1', `${name}.localhost`);
  const shown = (page: Page, name: string) =>
    page.getByText(`"name":"${name}"`).waitFor({ state: 'attached', timeout: 60_000 });

  for (const [form, urlOf] of [
    ['path', (name: string) => `${router.url}/${name}/deep?x=1`],
    ['host', (name: string) => `${originOf(name)}/deep?x=1`],
  ] as const)
    it(`shows phases as they come, then the real page, in the ${form} form`, async () => {
      const name = `slow-${form}`;
      await asleep(name);
      const { page, complaints } = await openPage();
      const answer = await page.goto(urlOf(name));
      assert.equal(answer?.status(), 503);
      assert.equal(await page.title(), `${name} is waking`);
      await page.locator('li[data-phase=queue]', { hasText: /\d\.\d s/ }).waitFor({ timeout: 60_000 });
      await shown(page, name);
      assert.match((await page.textContent('body')) ?? '', /"url":"\/deep\?x=1"/);
      const ofPolicy = complaints.filter((text) => !text.startsWith('Failed to load resource'));
      assert.deepEqual(ofPolicy, [], 'its own policy lets its script and style run');
      await page.context().close();
    });

  it('works without scripts', async () => {
    await asleep('slow-plain');
    const { page } = await openPage({ javaScriptEnabled: false });
    const answer = await page.goto(`${originOf('slow-plain')}/`);
    assert.equal(answer?.status(), 503);
    await shown(page, 'slow-plain');
    await page.context().close();
  });

  it('does not come where the sandbox wakes in time, nor for what a script asks for', async () => {
    await asleep('quick');
    const { page } = await openPage();
    assert.equal((await page.goto(`${originOf('quick')}/`))?.status(), 200);
    await asleep('slow-fetched');
    await page.goto(`${router.url}/healthz`);
    const fetched = await page.evaluate(async () => {
      const answer = await fetch('/slow-fetched/');
      return [answer.status, answer.headers.get('content-type')];
    });
    assert.deepEqual(fetched, [200, 'application/json']);
    await page.context().close();
  });

  it('lets EventSource follow a wake', async () => {
    await asleep('slow-followed');
    const { page } = await openPage();
    await page.goto(`${router.url}/healthz`);
    const events = (await page.evaluate(FOLLOW_A_WAKE)) as string[];
    assert.equal(events.at(-1), 'end: ready');
    assert.ok(events.length >= 3, events.join(', '));
    await page.context().close();
  });
});
