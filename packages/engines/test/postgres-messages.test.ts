import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { MESSAGE_LOCALES, missingLocales, type PostgresServer, startPostgres } from '@lastgood/testkit';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { Session } from '../src/postgres/session.ts';
import { EngineHarness } from './support/engine-harness.ts';

const never = new AbortController().signal;
const missing = await missingLocales(MESSAGE_LOCALES);

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    (value) => new Error(`nothing was refused: ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Failure)) throw error;
  return error;
}
/** Everything that a failure says, and everything that caused it. */
const allOf = (error: Failure): string =>
  `${error.message} ${error.remedy} ${JSON.stringify(error)} ${String(error.cause ?? '')} ${JSON.stringify(error.cause ?? '')}`;

describe.for(MESSAGE_LOCALES)('messages of a server in %s', (locale) => {
  const isMissing = missing.includes(locale);
  const it = test.skipIf(isMissing);
  const cleanup = new AsyncDisposableStack();
  let server: PostgresServer;
  /** As a superuser, whose messages are in English on request. */
  let bench: EngineHarness;
  /** As the owner of the databases, whose messages are in the language of the server. */
  let plain: EngineHarness;

  beforeAll(async () => {
    if (isMissing) return;
    server = cleanup.use(await startPostgres({ lcMessages: locale }));
    bench = cleanup.use(await EngineHarness.open(server));
    await server.query(
      'postgres',
      "create role dba login createdb password 'y'; create role reader login password 'y'",
    );
    const passfile = join(bench.folder, 'dba.pgpass');
    await writeFile(passfile, '*:*:*:*:y\n', { mode: 0o600 });
    const store = join(bench.folder, 'repository');
    plain = cleanup.use(await EngineHarness.open(server, { user: 'dba', passfile }, store));
  }, 120_000);
  afterAll(() => cleanup.disposeAsync());

  /** Makes a database of `dba`, and what is in it by `dba` or by the superuser. */
  async function make(database: string, sql: string, by: 'dba' | 'superuser' = 'dba'): Promise<void> {
    await server.query('postgres', `create database ${database} owner dba`);
    await (by === 'dba' ? server.queryAs('dba', 'y', database, sql) : server.query(database, sql));
  }
  /** What restores of a database report that cannot be loaded again, by a superuser and by its owner, and a restore test of it. */
  async function failedRestores(database: string, sql: string, tested = true): Promise<{ by: string; said: string }[]> {
    await make(database, sql);
    const { backupId } = await bench.backup({ databases: [database] });
    const found: { by: string; said: string }[] = [];
    for (const [by, harness] of Object.entries({ bench, plain })) {
      const mode = { way: 'new', database, as: `${database}_${by}` } as const;
      const failure = await failureOf(harness.restore(backupId, mode));
      expect(failure.code).toBe('RESTORE_FAILED');
      found.push({ by, said: allOf(failure) });
    }
    if (!tested) return found;
    const { findings } = await bench.verify(4, backupId);
    expect(findings).toHaveLength(1);
    found.push({ by: 'verify', said: JSON.stringify(findings) });
    return found;
  }

  it('I8: the password of a subscription is in no failure; what was to be created is', async () => {
    await make(
      'subs',
      "create subscription s connection 'host=10.0.0.1 dbname=x user=repl password=HUNTER2' publication p with (connect = false, slot_name = none)",
      'superuser',
    );
    const { backupId } = await bench.backup({ databases: ['subs'] });
    const failure = await failureOf(plain.restore(backupId, { way: 'new', database: 'subs', as: 'subs_copy' }));
    expect(failure).toMatchObject({ code: 'RESTORE_FAILED', message: expect.stringContaining('SUBSCRIPTION - s ') });
    expect(allOf(failure)).not.toMatch(/HUNTER2|10\.0\.0\.1|repl/);
  });

  it('I8: a row that breaks a constraint is in no failure; the table is', async () => {
    for (const { by, said } of await failedRestores(
      'wards',
      `create function ok(t text) returns bool language sql as $$ select current_setting('lastgood.here', true) is not null $$;
       set lastgood.here = 'yes'; create table patients (name text, diagnosis text, check (ok(name)));
       insert into patients values ('Ada Smith', 'secret illness')`,
    )) {
      expect(said).toContain('TABLE DATA public patients');
      expect(said).not.toMatch(/Ada|Smith|secret|illness/);
      if (by === 'plain' && locale !== 'C') continue;
      expect(said).toContain('check violation');
      expect(said).toContain('patients_name_check');
      expect(said).toContain('line 1');
    }
  });

  it('I8: what a function raises is in no failure, whatever it imitates', async () => {
    const forged = [
      `raise exception 'no "cure" for %', t using hint = t, detail = t`,
      `raise exception 'relation "%" does not exist', t using errcode = '42P01', table = t, schema = t, constraint = t`,
      `raise exception E'x\\npg_restore: error: could not execute query: ERROR:  relation "%" does not exist', t`,
      `raise warning E'x\\npg_restore: error: could not execute query: ERROR:  relation "%" does not exist', t; raise exception '%', t`,
      `raise exception E'x\\nCONTEXT:  COPY patients, line 7\\nDETAIL:  %', t`,
      `return t::int > 0`,
      `execute format('select %L::date', t); return true`,
      `execute format('select * from %I', t); return true`,
    ];
    for (const [index, statement] of forged.entries()) {
      const told = await failedRestores(
        `raising_${index}`,
        `create function ok(t text) returns bool language plpgsql as $$ begin if current_setting('lastgood.here', true) is null then ${statement}; end if; return true; end $$;
         set lastgood.here = 'yes'; create table patients (name text check (ok(name))); insert into patients values ('Ada "Smith" Jones')`,
        index === 0,
      );
      for (const { said } of told) {
        expect(said).toContain('TABLE DATA public patients');
        expect(said).not.toMatch(/Ada|Smith|Jones|cure/);
      }
    }
  });

  it('I8: of an error in a session its SQLSTATE and names of objects are kept, and nothing that a function wrote', async () => {
    await make('called', 'create table patients (name text, constraint named check (length(name) > 3))');
    for (const user of [server.user, 'dba']) {
      const connection = postgresConnectionSchema.parse({
        ...server.connection,
        ...(user === 'dba' ? { user, passfile: join(bench.folder, 'dba.pgpass') } : {}),
      });
      await using session = await Session.open(connection, 'called', never);
      const said = async (sql: string): Promise<string> => allOf(await failureOf(session.run(sql)));
      if (user === server.user)
        await session.run(`create function public.raises(t text) returns int language plpgsql as $$ begin
        raise exception 'no "cure" for %', t using errcode = '23514', hint = t, detail = t, table = t, constraint = t; end $$`);
      const raised = await said("select public.raises('Ada Smith')");
      expect(raised).toContain('check violation in a function of the database (SQLSTATE 23514)');
      const cast = await said("select 'Ada Smith'::int");
      expect(cast).toContain('invalid text representation (SQLSTATE 22P02)');
      const syntax = await said("alter role Ada password 'Smith' cure");
      expect(syntax).toContain('syntax error (SQLSTATE 42601)');
      const setting = await said("set work_mem to 'Ada Smith'");
      expect(setting).toContain('invalid parameter value');
      for (const text of [raised, cast, syntax, setting]) expect(text).not.toMatch(/Ada|Smith|cure/);
      const broken = await said("insert into public.patients values ('Ada')");
      expect(broken).toContain('check violation: constraint "named", table "public.patients" (SQLSTATE 23514)');
      expect(broken).not.toContain('Ada');
    }
  });

  it('a role that may set lc_messages gets English, and one that may not is known not to', async () => {
    const as = async (user: string) => {
      const passfile = user === server.user ? server.passfile : join(bench.folder, 'dba.pgpass');
      const connection = postgresConnectionSchema.parse({ ...server.connection, user, passfile });
      await using session = await Session.open(connection, 'postgres', never);
      return session.messages;
    };
    const english = locale === 'C';
    expect(await as(server.user)).toEqual({ locale, untranslated: true, mayRequestEnglish: true });
    expect(await as('dba')).toEqual({ locale, untranslated: english, mayRequestEnglish: false });
    const [version] = await server.query('postgres', "select current_setting('server_version_num')::int as number");
    if (Number(version?.['number']) < 150_000) return;
    await server.query('postgres', 'grant set on parameter lc_messages to reader');
    expect(await as('reader')).toEqual({ locale, untranslated: true, mayRequestEnglish: true });
    await server.query('postgres', 'revoke set on parameter lc_messages from reader');
  });

  it('A11: what a role may not read is refused with its name, whichever kind it is', async () => {
    await make(
      'guarded',
      `create schema hidden; create table hidden.away (id int); create table "the ledger" (id int);
       create table rows_of_others (who text); create sequence counted`,
      'superuser',
    );
    const passfile = join(bench.folder, 'dba.pgpass');
    const connection = { user: 'reader', passfile, database: 'guarded' };
    await using reader = await EngineHarness.open(server, connection, join(bench.folder, 'of-reader'));
    const grants = new Map([
      ['"hidden"', 'usage on schema hidden'],
      ['away"', 'select on hidden.away'],
      ['rows_of_others"', 'select on rows_of_others'],
      ['the ledger"', 'select on "the ledger"'],
      ['counted"', 'select on sequence counted'],
    ]);
    while (grants.size > 0) {
      const { code, message } = await failureOf(reader.backup({ databases: ['guarded'] }));
      expect([code, message]).toEqual(['DATABASE_REFUSED', expect.any(String)]);
      const named = [...grants.keys()].find((name) => message.includes(name));
      expect(named, message).toBeDefined();
      await server.query('guarded', `grant ${grants.get(named ?? '')} to reader`);
      grants.delete(named ?? '');
    }
    await server.query('guarded', 'alter table rows_of_others enable row level security');
    const policy = await failureOf(reader.backup({ databases: ['guarded'] }));
    expect(policy).toMatchObject({ code: 'DATABASE_REFUSED', message: expect.stringContaining('rows_of_others"') });
    await server.query('guarded', 'alter table rows_of_others disable row level security');
    const [made] = await server.query('guarded', "select lo_from_bytea(0, 'x')::text as oid");
    const object = await failureOf(reader.backup({ databases: ['guarded'] }));
    expect(object).toMatchObject({
      code: 'DATABASE_REFUSED',
      message: expect.stringContaining(`large object "${String(made?.['oid'])}"`),
    });
  });

  it('A14: a lock that another session holds ends a backup with the name of the table', async () => {
    await make('locked', 'create table orders (id int); create table split (i int) partition by range (i)');
    const impatient = { lockWaitMs: 500, user: 'dba', passfile: join(bench.folder, 'dba.pgpass') };
    await using waiting = await EngineHarness.open(server, impatient);
    const client = new pg.Client({
      host: server.host,
      port: server.port,
      user: 'dba',
      password: 'y',
      database: 'locked',
    });
    await client.connect();
    try {
      for (const table of ['orders', 'split']) {
        await client.query(`begin; lock table ${table} in access exclusive mode`);
        const failure = await failureOf(waiting.backup({ databases: ['locked'] }));
        expect(failure).toMatchObject({ code: 'TARGET_BUSY', message: expect.stringContaining('gave way') });
        expect(failure.message).toContain(table);
        await client.query('rollback');
      }
    } finally {
      await client.end();
    }
  });

  it('F2: a swap replaces a database whose clients reconnect at once', async () => {
    await make('busy', 'create table t (i int)');
    const { backupId } = await bench.backup({ databases: ['busy'] });
    let stopping = false;
    const storm = async (): Promise<void> => {
      while (!stopping) {
        const client = new pg.Client({
          host: server.host,
          port: server.port,
          user: 'dba',
          password: 'y',
          database: 'busy',
        });
        client.on('error', () => undefined);
        await client.connect().catch(() => undefined);
        await client.query('select pg_sleep(0.02)').catch(() => undefined);
        await client.end().catch(() => undefined);
      }
    };
    const clients = Array.from({ length: 3 }, storm);
    try {
      expect(await bench.restore(backupId, { way: 'swap', database: 'busy' })).toMatchObject({
        setAsideAs: expect.stringContaining('busy__lastgood_old_'),
      });
    } finally {
      stopping = true;
      await Promise.all(clients);
    }
  });

  it('a login that is refused has the remedy of its reason', async () => {
    await server.query('postgres', "create role locked_out nologin password 'y'");
    const as = async (user: string, password: string, database = 'postgres'): Promise<Failure> => {
      const passfile = join(bench.folder, 'login.pgpass');
      await writeFile(passfile, `*:*:*:*:${password}\n`, { mode: 0o600 });
      const connection = postgresConnectionSchema.parse({ ...server.connection, user, passfile });
      return await failureOf(Session.open(connection, database, never));
    };
    const refused = (remedy: string) => ({ code: 'DATABASE_REFUSED', remedy: expect.stringContaining(remedy) });
    expect(await as('dba', 'wrong')).toMatchObject(refused('Correct the password'));
    expect(await as('locked_out', 'y')).toMatchObject(refused('LOGIN'));
    expect(await as('dba', 'y', 'nowhere')).toMatchObject(refused('Create the database'));
  });
});
