import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Browser, chromium, type Page } from 'playwright-core';
import { projectRoot } from '../support/checkout.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const CHROMIUM = '/usr/bin/chromium';
const skip = existsSync(CHROMIUM) ? false : `${CHROMIUM} is missing`;

describe('the console, in Chromium', { skip, timeout: 240_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-console-'));
  let up: RunningUp;
  let browser: Browser;
  let page: Page;
  const said: string[] = [];

  before(async () => {
    up = await startUp({ directory: projectRoot, stateDirectory, runtime: 'process' });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    page = await browser.newPage();
    page.on('pageerror', (error) => said.push(error.message));
    await page.goto(/console +(\S+)/.exec(up.output())?.[1] ?? '');
  });
  after(async () => {
    await browser?.close();
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  const enter = async (key: string) => {
    await page.fill('#key', key);
    await page.click('#entry button');
  };
  const row = (name: string) => page.locator('#rows tr', { hasText: name });

  it('shows nothing without a key, and why a wrong one is refused', async () => {
    await enter('wrong');
    await page.waitForFunction("document.querySelector('#refusal').textContent !== ''");
    assert.equal(await page.locator('#sandboxes').isVisible(), false);
  });

  it('lists sandboxes, counts them, and says that the process runtime isolates nothing', async () => {
    await enter(up.token);
    await row('counter').waitFor();
    assert.match((await row('counter').textContent()) ?? '', /default.*running/s);
    assert.match((await page.textContent('#summary')) ?? '', /2 running/);
    assert.match((await page.textContent('#warning')) ?? '', /ISOLATES NOTHING/);
    assert.equal(await page.inputValue('#key'), '', 'the key is not left in the form');
  });

  it('filters by words', async () => {
    await page.fill('#filter', 'shell run');
    assert.equal(await page.locator('#rows tr').count(), 1);
    await page.fill('#filter', '');
  });

  it('pauses, and follows what others do', async () => {
    await row('counter').getByRole('button', { name: 'Pause' }).click();
    await row('counter').locator('.state.paused').waitFor();
    assert.equal((await up.request('/counter/')).status, 200);
    await row('counter').locator('.state.running').waitFor();
  });

  it('opens a sandbox on its own origin, which knows nothing of the console', async () => {
    const [opened] = await Promise.all([
      page.context().waitForEvent('page'),
      row('counter').getByRole('button', { name: 'Open' }).click(),
    ]);
    await opened.waitForURL(/^http:\/\/counter--default\.localhost:\d+\/$/);
    assert.match((await opened.textContent('body')) ?? '', /"n":/);
    assert.equal(await opened.evaluate('opener'), null);
    await opened.close();
  });

  it('tells the details of one, and what happened to it', async () => {
    await row('counter').getByRole('button', { name: 'counter' }).click();
    await page.locator('#details li', { hasText: 'Woken by' }).waitFor();
    assert.match((await page.textContent('#details')) ?? '', /\/counter\.default\/.*Paused by/s);
  });

  it('keeps no key: a reload asks for it again', async () => {
    assert.equal(await page.evaluate('localStorage.length + sessionStorage.length'), 0);
    assert.deepEqual(await page.context().cookies(up.url), []);
    await page.reload();
    assert.equal(await page.locator('#entry').isVisible(), true);
    assert.equal(await page.locator('#rows tr').count(), 0);
  });

  it('ran without an error of its own', () => assert.deepEqual(said, []));
});
