import { readFile } from 'node:fs/promises';
import { findBrowser, type PostgresServer, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Fleet } from '../support/fleet.ts';
import { openBrowser, PHONE, Visitor } from './support/visitor.ts';

const browserPath = findBrowser();
const TARGET = '/targets/test/db-1/shop';
/** The browser reports a connection that broke or was refused. */
const LOST = /ERR_|Failed to load resource/;

describe.skipIf(browserPath === undefined)('the dashboard of a real fleet (needs chromium-headless-shell)', () => {
  const cleanup = new AsyncDisposableStack();
  let browser: Browser;
  let server: PostgresServer;
  let fleet: Fleet;
  let token: string;

  beforeAll(async () => {
    browser = await openBrowser(browserPath ?? '');
    cleanup.defer(() => browser.close());
    server = cleanup.use(await startPostgres({}));
    await seedShop(server, 'shop', { rows: 500 });
    const folder = cleanup.use(await temporaryFolder());
    fleet = cleanup.use(await Fleet.start(folder.path, server.connection));
    token = (await readFile(fleet.tokenFile, 'utf8')).trim();
    const backup = {
      command: 'backup',
      target: 'shop',
      method: null,
      contents: null,
      options: { digests: true },
    } as const;
    await fleet.run(backup);
    await fleet.run({ command: 'verify', target: 'shop', backupId: null, level: 4 });
  });
  afterAll(() => cleanup.disposeAsync());

  const rowsOf = async (): Promise<unknown> => await server.query('shop', 'select count(*)::int as n from orders');

  test('without a click or a scroll, the fleet page shows what would be lost now and when that was last tested', async () => {
    await using visitor = await Visitor.open(browser, fleet.url);
    await visitor.signIn(token);
    const row = visitor.page.getByRole('row', { name: /shop/ });
    await row.waitFor();
    const text = await row.innerText();
    expect(text).toMatch(/(protected|at risk|missed)/);
    // How much would be lost, back to which instant with its offset, and the last restore test with its level.
    expect(text).toMatch(/\d+(\.\d+)? (s|min)/);
    expect(text).toMatch(/back to \d\d:\d\d:\d\d \+01:00/);
    expect(text).toMatch(/(ago|just now)\s+level 4/);
    const box = await row.boundingBox();
    expect((box?.y ?? 9_999) + (box?.height ?? 0)).toBeLessThan(800);
    await visitor.expectAccessible();
    expect(visitor.problems).toEqual([]);
  });

  test('a lost table is brought back with the page alone, and the restore is undone', async () => {
    await using visitor = await Visitor.open(browser, fleet.url);
    const { page } = visitor;
    await visitor.signIn(token);
    const before = await rowsOf();
    await server.query('shop', 'drop table orders cascade');
    await page.getByRole('link', { name: 'shop', exact: true }).click();
    await visitor.sees('What can be restored');
    await visitor.expectAccessible();
    await page.getByRole('link', { name: 'Restore …' }).click();
    await page.getByRole('radio', { name: /^swap/ }).check();
    await visitor.sees('lastgood restore test/db-1/shop latest --database shop --swap');
    await page.getByRole('button', { name: 'Make the plan' }).click();
    await visitor.sees(/Sets aside/);
    const run = page.getByRole('button', { name: /^Run plan [0-9a-f]{12}$/ });
    expect(await run.getAttribute('aria-disabled')).toBe('true');
    await visitor.sees('Type “shop” to enable this button.');
    await visitor.expectAccessible();
    await page.getByLabel(/^Type shop to consent/).fill('shop');
    await run.click();
    await page.waitForURL(/\/jobs\//);
    await visitor.sees('Result');
    await visitor.expectAccessible();
    expect(await rowsOf()).toEqual(before);
    await page.getByRole('button', { name: 'Undo …' }).click();
    await page.getByLabel(/^Type shop to consent/).fill('shop');
    await page.getByRole('button', { name: 'Undo this restore' }).click();
    await visitor.sees('In place again');
    await expect(rowsOf()).rejects.toThrow('orders');
    expect(visitor.problems).toEqual([]);
  });

  test('when the host does not report, its data is unknown, and no earlier state is continued', async () => {
    await using visitor = await Visitor.open(browser, fleet.url);
    await visitor.signIn(token);
    await fleet.killAgent();
    await fleet.untilOffline();
    await visitor.page.getByRole('row', { name: /shop/ }).getByText('as last reported').waitFor();
    await visitor.expectAccessible();
    await visitor.open(TARGET);
    await visitor.sees('unknown: no report');
    expect(await visitor.page.locator('.span-unknown').count()).toBeGreaterThan(0);
    await fleet.startAgent();
    await fleet.untilOnline();
    expect(visitor.problems).toEqual([]);
  });

  test('the timeline is moved with the keyboard alone, and reports each instant', async () => {
    await using visitor = await Visitor.open(browser, fleet.url);
    await visitor.signIn(token);
    await visitor.open(TARGET);
    const slider = visitor.page.getByRole('slider', { name: 'Instant to restore' });
    await slider.focus();
    await slider.press('Home');
    expect(await slider.getAttribute('aria-valuetext')).toContain('not restorable');
    await slider.press('End');
    expect(await slider.getAttribute('aria-valuetext')).toContain('the newest backup before it');
    await slider.press('Enter');
    await visitor.page.waitForURL(/restore\?at=/);
    await visitor.page.getByRole('radio', { name: 'an instant' }).waitFor();
    expect(visitor.problems).toEqual([]);
  });

  test('a person who may only read sees why each button is disabled', async () => {
    await using visitor = await Visitor.open(browser, fleet.url);
    const { token: reader } = await fleet.client.createToken.mutate({ name: 'r', scope: 'read', expiresInHours: 1 });
    await visitor.signIn(reader);
    await visitor.open(TARGET);
    const backUp = visitor.page.getByRole('button', { name: 'Back up now' });
    await backUp.waitFor();
    expect(await backUp.getAttribute('title')).toBe('Your token has the scope “read”. This needs “operate”.');
    const before = (await fleet.client.jobs.query({})).length;
    await backUp.click({ force: true });
    expect(await fleet.client.jobs.query({})).toHaveLength(before);
    expect(visitor.problems).toEqual([]);
  });

  test('a wrong token is refused, a link signs in once, and signing out ends the session', async () => {
    await using visitor = await Visitor.open(browser, fleet.url);
    visitor.expectProblem(/401/);
    const { page } = visitor;
    await page.goto(fleet.url);
    await visitor.expectAccessible();
    await page.getByLabel('Access token').fill('lg_wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await visitor.sees(/Sign-in failed/);
    await visitor.expectAccessible();
    const { code } = await fleet.client.createSignInCode.mutate({});
    await page.goto(`${fleet.url}/sign-in#code=${code}`);
    await page.reload();
    await page.getByRole('navigation', { name: 'Main' }).waitFor();
    expect(page.url()).not.toContain(code);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Access token').waitFor();
    await page.goto(fleet.url);
    await page.getByLabel('Access token').waitFor();
    expect(visitor.problems).toEqual([]);
  });

  test.for([
    ['a screen in dark', { colorScheme: 'dark' }],
    ['a phone in light', { colorScheme: 'light', viewport: PHONE, hasTouch: true }],
  ] as const)('every page is accessible on %s', async ([, options]) => {
    await using visitor = await Visitor.open(browser, fleet.url, options);
    await visitor.signIn(token);
    for (const path of [
      '/',
      '/?view=tiles',
      TARGET,
      `${TARGET}/restore`,
      '/jobs',
      '/schedules',
      '/restore-tests',
      '/alerts',
      '/hosts',
      '/runbooks',
    ]) {
      await visitor.open(path);
      await visitor.page.getByRole('heading', { level: 1 }).waitFor();
      await visitor.expectAccessible();
      const width = await visitor.page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
      expect(width, `${path} is wider than the screen`).toBeLessThanOrEqual(0);
    }
    expect(visitor.problems).toEqual([]);
  });

  test('the palette opens a page in a few keys', async () => {
    await using visitor = await Visitor.open(browser, fleet.url);
    await visitor.signIn(token);
    await visitor.page.getByRole('row', { name: /shop/ }).waitFor();
    await visitor.page.keyboard.press('Control+k');
    await visitor.page.getByRole('combobox', { name: 'Page, target or action' }).waitFor();
    await visitor.page.keyboard.type('restore shop');
    await visitor.page.getByRole('option', { name: /^Restore test\/db-1\/shop/, selected: true }).waitFor();
    await visitor.expectAccessible();
    await visitor.page.keyboard.press('Enter');
    await visitor.page.waitForURL(/\/restore$/);
    expect(visitor.problems).toEqual([]);
  });

  test('a runbook is planned, started with consent by name, approved and followed to its end', async () => {
    const steps = {
      ready: { title: 'The servers are provisioned', approve: { by: 'anyone' } },
      shop: {
        after: ['ready'],
        restore: { target: 'test/db-1/shop', database: 'shop', into: { new: 'shop_recovered' } },
      },
    };
    const text = JSON.stringify({ runbooks: { recover: { objectives: { rto: '4h' }, steps } } });
    await fleet.client.applyFleet.mutate({ text, file: 'fleet.yaml' });
    await using visitor = await Visitor.open(browser, fleet.url);
    const { page } = visitor;
    await visitor.signIn(token);
    await page.getByRole('link', { name: 'Runbooks' }).click();
    await page.getByRole('link', { name: 'Run …' }).click();
    await visitor.sees('REAL: this replaces live data');
    await visitor.expectAccessible();
    await page.getByLabel(/^Type recover to consent/).fill('recover');
    await page.getByRole('button', { name: /^Run plan [0-9a-f]{12}$/ }).click();
    await visitor.sees('waits for an approval');
    await visitor.expectAccessible();
    await page.getByRole('button', { name: 'Approve' }).click();
    await visitor.sees('2 of 2 done');
    await visitor.sees('succeeded');
    await visitor.expectAccessible();
    expect(await server.query('shop_recovered', 'select 1 as one')).toHaveLength(1);
    expect(visitor.problems).toEqual([]);
  });

  test('a killed control plane makes the page visibly stale, and it recovers by itself', async () => {
    await using visitor = await Visitor.open(browser, fleet.url);
    visitor.expectProblem(LOST);
    await visitor.signIn(token);
    await visitor.sees(/· live$/);
    await visitor.open(TARGET);
    const backUp = visitor.page.getByRole('button', { name: 'Back up now' });
    await backUp.waitFor();
    await visitor.sees(/· live$/);
    await fleet.killControl();
    await visitor.sees('Not connected to the control plane.');
    expect(await backUp.getAttribute('aria-disabled')).toBe('true');
    await visitor.expectAccessible();
    await fleet.startControl();
    await visitor.page.getByText('Not connected to the control plane.').waitFor({ state: 'hidden' });
    await visitor.sees(/· live$/);
    expect(visitor.problems).toEqual([]);
  });
});
