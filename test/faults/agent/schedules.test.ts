import { join } from 'node:path';
import type { AgentJob } from '@lastgood/protocol';
import { seedShop, startPostgres, temporaryFolder, waitFor } from '@lastgood/testkit';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

const forever = new AbortController().signal;
const EVERY_MINUTE = `contacts: { dba: { email: [dba@example.org] } }
policies:
  shop:
    select: { target: shop }
    backup: [{ method: logical, cron: "* * * * *" }]
    alerts: { contacts: [dba] }
`;

function journaledRuns(fleet: Fleet): AgentJob[] {
  const sqlite = new Database(join(fleet.folder, 'agent', 'journal.sqlite'), { readonly: true });
  try {
    const rows = sqlite.prepare<[], { json: string }>('select json from job').all();
    return rows
      .map(({ json }) => JSON.parse(json.slice(9)) as AgentJob)
      .filter(({ origin }) => origin.kind === 'schedule');
  } finally {
    sqlite.close();
  }
}

test('I6: an agent that is killed as a schedule fires runs that occurrence once, without the control plane', {
  timeout: 300_000,
}, async () => {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 50 });
  const { path } = cleanup.use(await temporaryFolder());
  const fleet = cleanup.use(await Fleet.start(path, server.connection));
  await fleet.stopAgent();
  await fleet.client.applyFleet.mutate({ text: EVERY_MINUTE, file: 'fleet.yaml', acceptLoss: false });
  // It gets its schedules, and dies as soon as the first of their runs is journaled.
  await fleet.startAgent({ LASTGOOD_FAULT: 'scheduled' });
  await fleet.agentEnded();
  const [run, ...others] = journaledRuns(fleet);
  expect(others).toEqual([]);
  expect(run).toMatchObject({ state: 'accepted', local: true });
  await fleet.killControl();
  await fleet.startAgent();
  await waitFor('the run in the journal', 120_000, forever, async () =>
    journaledRuns(fleet).find(({ jobId }) => jobId === run?.jobId)?.lastType === 'succeeded' ? true : undefined,
  );
  await fleet.startControl();
  await waitFor('the occurrence and its backup', 120_000, forever, async () => {
    const occurrences = await fleet.client.occurrences.query({ states: ['succeeded'] });
    const backups = await fleet.client.backups.query({});
    const hasRun = occurrences.some(({ occurrenceId }) => occurrenceId === run?.jobId);
    return hasRun && backups.some(({ jobId }) => jobId === run?.jobId) ? true : undefined;
  });
  await fleet.stopAgent();
  const jobIds = (await fleet.client.backups.query({})).map(({ jobId }) => jobId);
  expect(new Set(jobIds).size).toBe(jobIds.length);
});
