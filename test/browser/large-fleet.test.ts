import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Agent, enroll, readAgentConfig, startAgent } from '@lastgood/agent';
import { startControl } from '@lastgood/control';
import { systemClock } from '@lastgood/host';
import { adminClient, findBrowser, root, temporaryFolder, waitFor } from '@lastgood/testkit';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { silent } from '../support/in-process-fleet.ts';
import { openBrowser, Visitor } from './support/visitor.ts';

const browserPath = findBrowser();
const forever = new AbortController().signal;
const HOSTS = 2;
const TARGETS_PER_HOST = 250;

/** CPU time of scripts to show the page anew, also on a loaded machine. */
const MAX_SCRIPT_SECONDS = 0.5;

/** Loads the page again and measures its scripts in time of their thread, which other processes do not lengthen. */
async function scriptSeconds(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  await page.reload();
  await page.getByRole('row').nth(5).waitFor();
  const { metrics } = await session.send('Performance.getMetrics');
  return metrics.find(({ name }) => name === 'ScriptDuration')?.value ?? Number.NaN;
}

/** The agent file of a host with many targets, whose server is down. */
const agentFile = (folder: string, url: string, host: string): object => ({
  control: { url },
  environment: 'test',
  host,
  dataDir: join(folder, host),
  repositories: { local: { type: 'folder', path: join(folder, 'repository') } },
  targets: Object.fromEntries(
    Array.from({ length: TARGETS_PER_HOST }, (_, index) => [
      `shop-${index}`,
      { engine: 'postgres', repository: 'local', connection: { host: '127.0.0.1', port: 1, user: 'nobody' } },
    ]),
  ),
});

test.skipIf(browserPath === undefined)(
  'a fleet of 500 targets mounts at most 60 rows, and scrolls to the last one (needs chromium-headless-shell)',
  async () => {
    await using cleanup = new AsyncDisposableStack();
    const { path: folder } = cleanup.use(await temporaryFolder());
    const log = silent as never;
    const dashboardDir = join(root, 'apps/web/dist');
    const control = await startControl({ dataDir: join(folder, 'control'), dashboardDir, clock: systemClock, log });
    cleanup.defer(() => control.close());
    const admin = await adminClient(control.url, control.adminTokenFile);
    for (let index = 1; index <= HOSTS; index += 1) {
      const host = `db-${index}`;
      const configFile = join(folder, `${host}.yaml`);
      await writeFile(configFile, JSON.stringify(agentFile(folder, control.url, host)), { mode: 0o600 });
      const { token } = await admin.createEnrollToken.mutate({ environment: 'test', host, expiresInHours: 1 });
      await enroll(await readAgentConfig(configFile), control.url, token);
      const agent: Agent = await startAgent({ configFile, clock: systemClock, log, random: () => 0 });
      cleanup.defer(async () => void (await agent.close()));
    }
    const total = HOSTS * TARGETS_PER_HOST;
    await waitFor('every target to be reported', 120_000, forever, async () =>
      (await admin.targets.query({})).length === total ? true : undefined,
    );
    const browser = await openBrowser(browserPath ?? '');
    cleanup.defer(() => browser.close());
    await using visitor = await Visitor.open(browser, control.url);
    const { page } = visitor;
    await visitor.signIn((await readFile(control.adminTokenFile, 'utf8')).trim());
    await visitor.sees(`${total} of ${total} targets cannot be restored within their objective.`);
    expect(await scriptSeconds(page)).toBeLessThanOrEqual(MAX_SCRIPT_SECONDS);
    const rows = page.getByRole('row');
    expect(await rows.count()).toBeLessThanOrEqual(60);
    const table = page.getByRole('table', { name: 'Targets, worst first' });
    expect(await table.getAttribute('aria-rowcount')).toBe(String(total + 1));
    await page.keyboard.press('End');
    await page.locator(`[aria-rowindex="${total + 1}"]`).waitFor();
    expect(await rows.count()).toBeLessThanOrEqual(60);
    await visitor.open('/?view=tiles');
    await waitFor('every tile', 60_000, forever, async () =>
      (await page.getByRole('list', { name: 'Targets, worst first' }).getByRole('listitem').count()) === total
        ? true
        : undefined,
    );
    const height = await page.evaluate<number>('document.documentElement.scrollHeight');
    expect(height).toBeLessThanOrEqual(800);
    expect(visitor.problems).toEqual([]);
  },
);
