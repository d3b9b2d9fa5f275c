import { createServer, type Server } from 'node:net';
import type { Manifest } from '@lastgood/protocol';
import pg from 'pg';
import { beforeAll, expect, test } from 'vitest';
import { codeOf, EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness, cleanup } = await usePostgres();
let trap: Server;
let trapPort: number;
let caught = 0;
let manifest: Manifest;

const names = (port: number): string[] => [
  'a',
  '-d evil',
  '--file=/tmp/lastgood-evil',
  '-',
  '--',
  `host=127.0.0.1 port=${port} dbname=x`,
  `hostaddr=127.0.0.1 port=${port}`,
  `postgresql://a:b@127.0.0.1:${port}/c`,
  `postgres://127.0.0.1:${port}/`,
  `dbname='x' host=127.0.0.1 port=${port}`,
  'service=x',
  'a=b',
  "'",
  '"',
  '\\',
  "\\'",
  '`',
  '$(id)',
  ';id',
  '|id',
  '&',
  '%',
  '%00',
  '\n',
  'a\nb',
  '\r\n',
  '\t',
  '\u001b[31mred',
  '..',
  '../../etc/x',
  '..\\x',
  '/abs',
  'C:\\x',
  'CON',
  '.',
  '.hidden',
  'dot.',
  'space ',
  ' ',
  '*',
  '?',
  '[a]',
  '{a,b}',
  '~root',
  '#',
  '😀',
  'a\u202eb',
  'a\u200bb',
  '\u00e9',
  'e\u0301',
  '\u0430',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'NaN',
  'null',
  'true',
  '<script>',
  '{{7*7}}',
  '=cmd()',
  '\\restrict',
  '\\connect x',
  'all',
  'PUBLIC',
  'x'.repeat(63),
  'ü'.repeat(31),
];

beforeAll(async () => {
  trap = createServer((socket) => {
    caught += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve));
  cleanup.defer(() => new Promise((resolve) => trap.close(() => resolve())));
  const address = trap.address();
  trapPort = address !== null && typeof address === 'object' ? address.port : 0;
  for (const name of names(trapPort)) {
    await server.query('postgres', `create database ${pg.escapeIdentifier(name)} strategy file_copy`);
    await server.query(name, `create table ${pg.escapeIdentifier(name)} (name text)`);
    await server.query(name, `insert into ${pg.escapeIdentifier(name)} values ($1)`, [name]);
    await server.query('postgres', `comment on database ${pg.escapeIdentifier(name)} is ${pg.escapeLiteral(name)}`);
  }
  manifest = await harness.backup({ databases: names(trapPort) });
}, 400_000);

test('M11: every database name that PostgreSQL allows is backed up under that name, in a path made by us', () => {
  const dumps = manifest.objects.filter((object) => object.role === 'dump');
  expect(dumps.map((object) => object.contents)).toEqual(names(trapPort));
  for (const object of manifest.objects) expect(object.name).toMatch(/^data\/\d{4}\.[a-z]+\.zst$/);
});

test('M11: every such name restores to equal content under its own name, in a scratch server and in its own', async () => {
  expect(await harness.verify(6, manifest.backupId)).toMatchObject({ reached: 6, findings: [] });
  for (const name of names(trapPort)) {
    await server.query(name, `delete from ${pg.escapeIdentifier(name)}`);
    const { setAsideAs } = await harness.restore(manifest.backupId, { way: 'swap', database: name });
    expect(Buffer.byteLength(setAsideAs ?? '')).toBeLessThanOrEqual(63);
    expect(await server.query(name, `select name from ${pg.escapeIdentifier(name)}`)).toEqual([{ name }]);
  }
}, 400_000);

test('M11: nothing connected to the address that some names hold', () => {
  expect(caught).toBe(0);
});

test('M11: a maintenance database with such a name is never taken for a connection string', async () => {
  const database = `host=127.0.0.1 port=${trapPort} dbname=x`;
  const there = cleanup.use(await EngineHarness.open(server, { database }));
  await there.backup({ databases: ['a'] });
  expect(caught).toBe(0);
});

test('names that no database can have are refused typed, before anything is stored', async () => {
  const bad = ['', 'x'.repeat(64), 'x'.repeat(255), 'ü'.repeat(32), 'x'.repeat(65_536), 'a\0b', '\ud800', 'template0'];
  for (const name of bad) {
    expect([name, await codeOf(harness.backup({ databases: [name] }))]).toEqual([name, 'NOT_FOUND']);
    const source = await harness.repository.open(ref, manifest.backupId);
    const asked = harness.plan({ way: 'swap', database: name }, source, await harness.context());
    expect([name, await codeOf(asked)]).toEqual([name, 'NOT_FOUND']);
  }
  expect(await harness.listed()).toEqual([manifest.backupId]);
});

test('a restore to a new name that PostgreSQL cannot have is refused typed, and makes nothing', async () => {
  const before = await server.query('postgres', 'select datname from pg_database order by 1');
  for (const as of ['', 'x'.repeat(64), 'a\0b', '\ud800', 'postgres', 'template1', 'a'])
    expect([as, await codeOf(harness.restore(manifest.backupId, { way: 'new', database: 'a', as }))]).toEqual([
      as,
      expect.stringMatching(/^(BAD_INPUT|TARGET_NOT_EMPTY)$/),
    ]);
  expect(await server.query('postgres', 'select datname from pg_database order by 1')).toEqual(before);
});
