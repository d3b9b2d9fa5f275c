import { randomUUID } from 'node:crypto';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';
import { LedgerStore } from '../src/dispatch/ledger-store.ts';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const HOSTS = ['db-1', 'db-2', 'db-3'];

/** Three hosts, each with a destructive job that was dispatched to it. */
async function withDestructiveJobs(): Promise<ControlHarness> {
  const bench = await ControlHarness.start();
  for (const name of HOSTS) {
    const agent = await AgentSocket.connect(bench, await bench.enroll(name));
    await agent.announce('shop');
    const spec = { command: 'undo' as const, target: 'shop', restoreJobId: randomUUID() };
    await bench.admin().createJob.mutate({ target: `${name}/shop`, spec, idempotencyKey: randomUUID() });
    await until('the command', () => agent.commands[0]);
  }
  return bench;
}
function rows(bench: ControlHarness): { incarnation: unknown; frozen: unknown } {
  const sqlite = new Database(bench.catalogFile, { readonly: true });
  const incarnation = sqlite.prepare("select value from meta where key = 'incarnation'").pluck().get();
  const frozen = sqlite.prepare("select count(*) from jobs where json_extract(job, '$.frozen')").pluck().get();
  sqlite.close();
  return { incarnation, frozen };
}

test('R17, R18: wherever a start after a restore is cut off, the catalog has a new incarnation and all jobs frozen, or neither', async () => {
  await using bench = await withDestructiveJobs();
  await bench.close();
  const before = rows(bench);
  expect(before.frozen).toBe(0);
  const catalog = await openSqliteCatalog(bench.catalogFile);
  const commit = catalog.commit.bind(catalog);
  const seen: unknown[] = [];
  // Another process would find this after a kill behind each commit.
  catalog.commit = async (changes) => {
    await commit(changes);
    seen.push(rows(bench));
  };
  const incarnation = randomUUID();
  await LedgerStore.open(catalog, bench.clock, { incarnation });
  await catalog.close();
  expect(seen).toEqual([{ incarnation, frozen: HOSTS.length }]);
});
