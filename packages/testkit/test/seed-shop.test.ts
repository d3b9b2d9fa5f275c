import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type PostgresServer, seedShop, startPostgres, temporaryFolder } from '../src/index.ts';

const cleanup = new AsyncDisposableStack();
const never = new AbortController().signal;
let server: PostgresServer;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 1_000 });
});
afterAll(() => cleanup.disposeAsync());

async function tool(name: string, ...args: string[]): Promise<{ stdout: string; stderrTail: string[] }> {
  const to = [`--host=${server.host}`, `--port=${server.port}`, `--username=${server.user}`, '--no-password'];
  return captureTool({
    file: join(server.binDir, name),
    args: [...to, ...args],
    env: { PGPASSFILE: server.passfile },
    signal: never,
    timeoutMs: 60_000,
  });
}
/** The dump of a database as text, without the random key of \restrict. */
const asText = async (database: string): Promise<string> =>
  (await tool('pg_dump', '--create', `--dbname=${database}`)).stdout.replace(/^\\(un)?restrict .*$/gm, '');

test('pg_dump and pg_restore reproduce the shop without messages', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'shop.dump');
  const before = await asText('shop');
  const dumped = await tool('pg_dump', '--format=custom', `--file=${file}`, '--dbname=shop');
  await server.query('postgres', 'alter database shop rename to shop_before');
  const restored = await tool('pg_restore', '--exit-on-error', '--create', '--dbname=postgres', file);
  expect([dumped.stderrTail, restored.stderrTail]).toEqual([[], []]);
  expect((await asText('shop')).split('\n')).toEqual(before.split('\n'));
});

test('the shop contains every kind of object that a dump must contain', async () => {
  const kinds = await server.query(
    'shop',
    'select distinct relkind::text || relpersistence::text as k from pg_class where oid >= 16384',
  );
  expect(kinds.map(({ k }) => k)).toEqual(expect.arrayContaining(['rp', 'ru', 'pp', 'mp', 'vp', 'Sp', 'ip', 'cp']));
  const one = async (sql: string): Promise<unknown> => Object.values((await server.query('shop', sql))[0] ?? {})[0];
  expect(await one('select count(*)::int from orders')).toBe(1_000);
  expect(await one('select count(*)::int from pg_largeobject_metadata')).toBe(3);
  expect(await one('select last_value::int from "Odd Schema".descending')).toBe(-4);
  expect(await one('select is_called from untouched')).toBe(false);
  expect(await one("select ispopulated from pg_matviews where matviewname = 'per_customer'")).toBe(true);
  expect(await one("select ispopulated from pg_matviews where matviewname = 'not_filled'")).toBe(false);
  expect(await one('select count(*)::int from pg_event_trigger')).toBe(1);
  expect(await one('select count(*)::int from pg_publication')).toBe(1);
  expect(await one('select count(*)::int from pg_policies')).toBe(1);
  expect(await one('select max(id)::int from identity_always')).toBe(507);
  expect(await one("select string_agg(distinct contype::text, '' order by contype::text) from pg_constraint")).toBe(
    'cfpux',
  );
  expect(await one('select count(*)::int from pg_db_role_setting')).toBeGreaterThanOrEqual(2);
  const loose = await server.query('shop', 'select n::text from types_awkward order by id');
  expect(loose).toEqual([{ n: 'NaN' }, { n: '123456789012345678901234567890.123456789' }]);
});

test('one server can have two shops', async () => {
  await seedShop(server, 'the "second" shop', { rows: 0 });
  expect(await server.query('the "second" shop', 'select count(*)::int as n from orders')).toEqual([{ n: 0 }]);
});
