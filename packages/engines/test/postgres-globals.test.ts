import { join } from 'node:path';
import { makeFinding } from '@lastgood/protocol';
import { missingNames, seedShop, startPostgres } from '@lastgood/testkit';
import { beforeAll, expect, test } from 'vitest';
import { globalsOf } from '../src/postgres/artifacts.ts';
import {
  roleStatements,
  statementsOf,
  unusualAttributes,
  withoutDefaults,
  withoutGrantor,
} from '../src/postgres/globals.ts';
import { EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();
let backupId: string;

/** A role puts what it likes into its own settings; here, lines that look like statements of the globals. */
const TRAP =
  "E'x\\nALTER ROLE clerk WITH SUPERUSER;\\nCREATE ROLE intruder;\\nGRANT shop_owner TO clerk;\\n\\\\''\"--'";

beforeAll(async () => {
  await seedShop(server, 'shop', { rows: 10 });
  await server.query(
    'postgres',
    `create role clerk login password 'cl:erk'; create role "Night ""shift""" login; create role elsewhere; create role boss superuser;
     grant "shop ""reader"" - 1" to clerk with admin option; grant clerk to "Night ""shift"""; grant "shop ""reader"" - 1" to boss;
     grant elsewhere to clerk; grant pg_monitor to clerk;
     alter role clerk set search_path to 'Odd Schema', "public"; alter role clerk set "shop.note" to ${TRAP};
     comment on role clerk is ${TRAP}; alter database shop connection limit 0; alter database shop is_template true`,
  );
  ({ backupId } = await harness.backup());
}, 120_000);

const asked = `select rolname as name, rolsuper as super, rolcanlogin as login, (select array_agg(g.rolname::text || case when admin_option then ' with admin' else '' end order by g.rolname) from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid and g.rolname <> 'elsewhere') as groups,
  (select array_agg(c) from unnest(rolconfig) c) as settings, shobj_description(oid, 'pg_authid') as comment from pg_roles r where rolname !~ '^pg_' and rolname not in ('postgres', 'elsewhere', 'boss') and not rolname = current_user order by 1`;

test('F7: on an empty server the roles come back with their members, memberships, settings, passwords and comments', async () => {
  await using other = await startPostgres();
  await using elsewhere = await EngineHarness.open(other);
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'swap', database: 'shop' } as const;
  const plan = await elsewhere.plan(mode, source, await elsewhere.context());
  expect(missingNames(plan, 'role')).toEqual(['Night "shift"', 'clerk', 'shop "reader" - 1', 'shop_owner']);
  const wanted = { restore: mode, jobId: backupId, planHash: plan.hash };
  const { warnings } = await elsewhere.carryOut(wanted, source, await elsewhere.context());
  expect(warnings.filter(({ code }) => code === 'ROLE_STATEMENT_LEFT_OUT')).toEqual([]);
  expect(await other.query('postgres', asked)).toEqual(await server.query('postgres', asked));
  expect(
    await other.query(
      'postgres',
      "select datconnlimit as most, datistemplate as template from pg_database where datname = 'shop'",
    ),
  ).toEqual([{ most: 0, template: true }]);
});

test('F7: a line inside of a role setting or comment is never run as a statement, neither in a restore nor in a restore test', async () => {
  const globals = await globalsOf(await harness.repository.open(ref, backupId), new AbortController().signal);
  expect(globals).toMatch(/^ALTER ROLE clerk WITH SUPERUSER;$/m);
  const { make, adorn } = roleStatements(globals, ['clerk'], new Set(['shop_owner']), null, 'full');
  expect(make).toEqual(['CREATE ROLE clerk', expect.stringMatching(/^ALTER ROLE clerk WITH NOSUPERUSER /)]);
  expect(adorn.filter((statement) => /^(GRANT shop_owner|CREATE)/.test(statement))).toEqual([]);
  expect(statementsOf(globals).filter((statement) => statement.includes('intruder'))).toHaveLength(2);
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
});

test('F7: a role that is there already is not changed, and a setting that the server refuses is left out with a warning', async () => {
  await using other = await startPostgres();
  await using elsewhere = await EngineHarness.open(other);
  await other.query('postgres', "create role clerk nologin; comment on role clerk is 'of this server'");
  await server.query('postgres', "alter role shop_owner set work_mem to '9MB'");
  const { backupId: later } = await harness.backup();
  await server.query('postgres', 'alter role shop_owner reset work_mem');
  const real = await harness.repository.open(ref, later);
  const source: typeof real = {
    manifest: real.manifest,
    log: real.log,
    open: (object, signal) =>
      object.role === 'globals'
        ? real.open(object, signal).map((chunk: Buffer) => Buffer.from(String(chunk).replace("TO '9MB'", "TO 'nine'")))
        : real.open(object, signal),
  };
  const mode = { way: 'new', database: 'shop', as: 'copy' } as const;
  const { hash } = await elsewhere.plan(mode, source, await elsewhere.context());
  const wanted = { restore: mode, jobId: later, planHash: hash };
  const { warnings } = await elsewhere.carryOut(wanted, source, await elsewhere.context());
  expect(warnings).toContainEqual(
    expect.objectContaining({
      code: 'ROLE_STATEMENT_LEFT_OUT',
      params: { reason: expect.stringContaining('invalid parameter value: parameter "work_mem"') },
    }),
  );
  expect(
    await other.query(
      'postgres',
      "select rolcanlogin as login, shobj_description(oid, 'pg_authid') as comment from pg_roles where rolname = 'clerk'",
    ),
  ).toEqual([{ login: false, comment: 'of this server' }]);
});

test('F7: globals that break off inside of a text or a statement are corrupt, not half of them run', () => {
  for (const broken of ["CREATE ROLE a;\nCOMMENT ON ROLE a IS 'x;\nCREATE ROLE b;", 'CREATE ROLE a;\nCREATE ROLE b'])
    expect(() => statementsOf(broken)).toThrow(expect.objectContaining({ code: 'BACKUP_CORRUPT' }));
});

test('F7: memberships lose their grantor, which PostgreSQL 16 and later refuse on a server of another superuser', () => {
  expect(withoutGrantor('GRANT "a ""b" TO c WITH ADMIN OPTION, INHERIT TRUE, SET FALSE GRANTED BY lg_super')).toBe(
    'GRANT "a ""b" TO c WITH ADMIN OPTION, INHERIT TRUE, SET FALSE',
  );
  expect(withoutGrantor('GRANT a TO "c GRANTED BY d" GRANTED BY "e"')).toBe('GRANT a TO "c GRANTED BY d"');
  const comment = "COMMENT ON ROLE a IS 'GRANT b TO c GRANTED BY d'";
  expect(withoutGrantor(comment)).toBe(comment);
});

test('F2: a half-restored database that was already marked as a template is swept all the same', async () => {
  await server.query('postgres', 'create database "shop__lastgood_new_0123456789ab" is_template true');
  expect(await harness.engine.sweep(await harness.context(), () => new Set())).toEqual([
    'half-restored database shop__lastgood_new_0123456789ab',
  ]);
});

test('a database that is a template is backed up, and one that accepts no connections is named as left out', async () => {
  await server.query('postgres', 'create database shut allow_connections false');
  const manifest = await harness.backup({ databases: null });
  expect(manifest.objects.map((object) => object.contents)).toContain('shop');
  expect(manifest.warnings).toContainEqual(makeFinding('DATABASE_NOT_CONNECTABLE', { kind: 'database', name: 'shut' }));
});

test('F7: a database returns to its own tablespace, and to the default one with a warning where that is missing', async () => {
  const folder = join(server.socketFolder, 'space');
  await server.query('postgres', `copy (select) to program 'mkdir ${folder}'`);
  await server.query('postgres', `create tablespace "Fast disk" location '${folder}'`);
  await seedShop(server, 'fast', { rows: 10 });
  await server.query('postgres', 'alter database fast set tablespace "Fast disk"');
  const { backupId: ofFast } = await harness.backup({ databases: ['fast'] });
  await server.query('postgres', 'drop database fast');
  await harness.restore(ofFast, { way: 'swap', database: 'fast' });
  const place =
    "select spcname as name from pg_database d join pg_tablespace t on t.oid = dattablespace where datname = 'fast'";
  expect(await server.query('postgres', place)).toEqual([{ name: 'Fast disk' }]);
  expect(await harness.verify(6, ofFast)).toMatchObject({ reached: 6, findings: [] });

  await using other = await startPostgres();
  await using elsewhere = await EngineHarness.open(other, {}, join(harness.folder, 'repository'));
  const source = await elsewhere.repository.open(ref, ofFast);
  const plan = await elsewhere.plan({ way: 'swap', database: 'fast' }, source, await elsewhere.context());
  expect(plan.warnings).toContainEqual(
    makeFinding('DATABASE_TABLESPACE_MISSING', { kind: 'tablespace', name: 'Fast disk' }),
  );
  await elsewhere.restore(ofFast, { way: 'swap', database: 'fast' });
  expect(await other.query('postgres', place)).toEqual([{ name: 'pg_default' }]);
});

test('what a new role has anyway is left out of its attributes, and nothing of its password', () => {
  const plain = 'NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS';
  expect(withoutDefaults('CREATE ROLE a')).toEqual(['CREATE ROLE a']);
  expect(withoutDefaults(`ALTER ROLE "a WITH b" WITH ${plain}`)).toEqual([]);
  const rest = "CONNECTION LIMIT 5 PASSWORD 'NOLOGIN ''x' VALID UNTIL 'infinity'";
  expect(withoutDefaults(`ALTER ROLE a WITH ${plain.replace('NOLOGIN', 'LOGIN')} ${rest}`)).toEqual([
    `ALTER ROLE a WITH LOGIN ${rest}`,
  ]);
  expect(withoutDefaults(`ALTER ROLE a WITH ${plain} VALID UNTIL 'x'`)).toEqual(["ALTER ROLE a WITH VALID UNTIL 'x'"]);
  expect(unusualAttributes(`ALTER ROLE a WITH SUPERUSER REPLICATION NOLOGIN PASSWORD 'y'`)).toEqual([
    'SUPERUSER',
    'REPLICATION',
  ]);
});
