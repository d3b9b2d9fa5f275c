import { join } from 'node:path';
import { aBackupSummary, someDatabases, temporaryFolder } from '@lastgood/testkit';
import Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Catalog } from '../src/catalog/catalog.ts';
import { enforceQuotas, shareOf } from '../src/catalog/host-quotas.ts';
import * as schema from '../src/catalog/schema.ts';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';

let cleanup: AsyncDisposableStack;
let catalog: Catalog;
let file: string;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  file = join(cleanup.use(await temporaryFolder()).path, 'catalog.sqlite');
  catalog = await openSqliteCatalog(file);
  cleanup.defer(() => catalog.close());
});
afterEach(() => cleanup.disposeAsync());

const idOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const backup = (n: number, ...databases: string[]) =>
  aBackupSummary({ backupId: idOf(n), sequence: n, contents: someDatabases(...databases) });
const scan = (agentId: string, backups: ReturnType<typeof backup>[]) =>
  catalog.commit([{ type: 'backup.scan', agentId, complete: true, backups, removed: [], targets: ['shop'] }]);
/** Applies quotas to a host as a scan does, with small ones. */
function enforce(agentId: string, quotas: { backups: number; contents: number }): void {
  const sqlite = new Database(file);
  sqlite.pragma('foreign_keys = ON');
  enforceQuotas(drizzle(sqlite, { schema }), agentId, quotas);
  sqlite.close();
}
const listed = async (agentId: string) =>
  (await catalog.backups.list({ agentId }, 100)).map(({ summary }) => Number(summary.backupId.slice(-4))).toReversed();

test('attack-B12: of too many backups of one host the missing ones go first, then the oldest; other hosts keep theirs', async () => {
  const all = Array.from({ length: 6 }, (_, n) => backup(n + 1, 'shop'));
  await scan('bad', all);
  await scan('good', [backup(101, 'shop')]);
  // Backups 2 and 5 are no longer reported.
  await scan(
    'bad',
    all.filter(({ sequence }) => sequence !== 2 && sequence !== 5),
  );
  enforce('bad', { backups: 4, contents: 100 });
  expect(await listed('bad')).toEqual([3, 4, 6]);
  expect(await listed('good')).toEqual([101]);
  enforce('bad', { backups: 4, contents: 100 });
  expect(await listed('bad')).toEqual([3, 4, 6]);
});

test('attack-B12: of too many databases in the backups of one host those of its oldest backups are forgotten', async () => {
  await scan('bad', [backup(1, 'a', 'b'), backup(2, 'c', 'd'), backup(3, 'e', 'f')]);
  enforce('bad', { backups: 100, contents: 5 });
  expect(await listed('bad')).toEqual([1, 2, 3]);
  expect((await catalog.backups.coverage('bad', 'shop')).map(({ database }) => database)).toEqual(['c', 'd', 'e', 'f']);
});

test('the target that occupies most gives way, and one with few backups keeps them, though they are the oldest', async () => {
  const rare = { ...backup(1, 'ledger'), target: 'crm' };
  const many = Array.from({ length: 6 }, (_, n) => backup(n + 2, 'a', 'b'));
  await catalog.commit([
    {
      type: 'backup.scan',
      agentId: 'h',
      complete: true,
      backups: [rare, ...many],
      removed: [],
      targets: ['shop', 'crm'],
    },
  ]);
  enforce('h', { backups: 4, contents: 6 });
  expect(await listed('h')).toEqual([1, 6, 7]);
  expect((await catalog.backups.coverage('h', 'crm')).map(({ database }) => database)).toEqual(['ledger']);
});

test('shares of a quota leave small targets alone', () => {
  const occupied = [10, 3, 100, 100].map((rows, n) => ({ target: `t${n}`, rows }));
  expect(shareOf(occupied, 1_000)).toBe(1_000);
  expect(shareOf(occupied, 113)).toBe(50);
  expect(shareOf(occupied, 20)).toBe(5);
});

test('attack-B3: a backup that lists very many databases is kept with a part of them, and is covered in pages', async () => {
  const names = Array.from({ length: 5_000 }, (_, n) => `database-${String(n).padStart(4, '0')}`);
  await scan('bad', [backup(1, ...names), backup(2, ...names.slice(0, 2_000))]);
  const coverage = await catalog.backups.coverage('bad', 'shop');
  expect(coverage).toHaveLength(2_000);
  expect(coverage.every(({ newest, firstGood }) => newest.sequence === 2 && firstGood?.sequence === 1)).toBe(true);
});

test('attack-B12: warnings without end are not kept', async () => {
  const endless = Array.from({ length: 5_000 }, () => ({
    ...{ code: 'TOOL_OUTPUT_LEFT_OUT', severity: 'info' as const, subject: null },
    params: { text: 'x'.repeat(1_000) },
  }));
  await scan('bad', [{ ...backup(1, 'shop'), warnings: endless }]);
  expect((await catalog.backups.get(idOf(1)))?.summary.warnings).toEqual([]);
});
