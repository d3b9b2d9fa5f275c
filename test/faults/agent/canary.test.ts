import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobSpec, JobView } from '@lastgood/protocol';
import {
  aRestoreRequest,
  type DatabaseRestore,
  missingLocales,
  type PostgresServer,
  startPostgres,
  temporaryFolder,
} from '@lastgood/testkit';
import pg from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

const LOCALES = ['C', 'de_DE.UTF-8', 'fr_FR.UTF-8'] as const;
const missing = await missingLocales(LOCALES);
/** In rows, constraints, functions, passwords, literals, defaults and comments, and never in the name of an object. */
const CANARY = `canary${randomBytes(8).toString('hex')}`;
const OWNER = 'dba';
const PASSWORD = `secret-${CANARY}`;

/** True when the database was filled, false in every later load of its dump. */
const LATER = "current_setting('lastgood.here', true) is null";
const checked = (statement: string): string =>
  `create function ok(t text) returns bool language plpgsql as $$ begin if ${LATER} then ${statement}; end if; return true; end $$;
   set lastgood.here = 'yes'; create table t (v text default '${CANARY}' check (ok(v))); insert into t values ('${CANARY}')`;

/** Databases whose dump cannot be loaded again, each by another kind of error. */
const BROKEN: Readonly<Record<string, string>> = {
  raised: checked(`raise exception 'no %', t using hint = t, detail = '${CANARY}'`),
  forged: checked(
    `raise exception 'relation "%" does not exist', t using errcode = '42P01', table = t, schema = t, column = t, constraint = t`,
  ),
  printed: checked(
    `raise warning E'x\npg_restore: error: could not execute query: ERROR:  relation "%" does not exist', t; raise exception E'%\nCONTEXT:  COPY t, line 1', t`,
  ),
  cast_away: checked('return t::int > 0'),
  dynamic: checked(`execute format('select %L::date, * from %I', t, t); return true`),
  violated: `create function ok(t text) returns bool language sql as $$ select not (${LATER}) $$;
    set lastgood.here = 'yes'; create table t (v text, constraint named check (ok(v) and v <> '${CANARY}-not')); insert into t values ('${CANARY}')`,
  indexed: `create function key(t text) returns text immutable language plpgsql as $$ begin if ${LATER} then raise '${CANARY}: %', t; end if; return t; end $$;
    set lastgood.here = 'yes'; create table t (v text); insert into t values ('${CANARY}'); create index on t (key(v))`,
  doubled: `create function key(t text) returns text immutable language plpgsql as $$ begin if ${LATER} then return '${CANARY}'; end if; return t; end $$;
    set lastgood.here = 'yes'; create table t (v text); insert into t values ('${CANARY}1'), ('${CANARY}2'); create unique index on t (key(v))`,
};
/** A materialized view that cannot be filled is a warning of the restore. */
const UNFILLED = `create function value(t text) returns int language plpgsql as $$ begin if ${LATER} then return t::int; end if; return 1; end $$;
  set lastgood.here = 'yes'; create table t (v text); insert into t values ('${CANARY}'); create materialized view m as select public.value(v) from public.t`;
/** What only a superuser may create: a restore by the owner fails at the statement that holds the password. */
const FOREIGN = `create subscription s connection 'host=10.0.0.1 password=${CANARY}' publication p with (connect = false, slot_name = none);
  create foreign data wrapper w; create server far foreign data wrapper w; create user mapping for ${OWNER} server far options (password '${CANARY}')`;
const FINE = `create table t (v text default '${CANARY}'); insert into t values ('${CANARY}'); comment on table t is '${CANARY}';
  create view w as select * from t where v <> '${CANARY}'`;

describe.for(LOCALES)('a server that reports errors in %s', (locale) => {
  const cleanup = new AsyncDisposableStack();
  afterAll(() => cleanup.disposeAsync());

  test.skipIf(missing.includes(locale))(
    'I8: a value of a database is in no log, job, event or catalog row, whatever fails',
    async () => {
      const { path } = cleanup.use(await temporaryFolder());
      const extraConf =
        "logging_collector = on\nlog_directory = 'log'\nlog_min_messages = warning\nwal_level = logical";
      const server = cleanup.use(await startPostgres({ lcMessages: locale, extraConf }));
      await fill(server);
      const owner = { ...server.connection, user: OWNER, passfile: join(path, 'pgpass'), lockWaitMs: 300 };
      await writeFile(owner.passfile, `*:*:*:*:${PASSWORD}\n`, { mode: 0o600 });
      const wrong = { ...owner, passfile: join(path, 'wrong.pgpass') };
      await writeFile(wrong.passfile, `*:*:*:*:${CANARY}\n`, { mode: 0o600 });
      const fleet = cleanup.use(await Fleet.start(path, owner, { targets: { all: server.connection, wrong } }));
      // A superuser gets English from every server: once is enough.
      const failed = await failEverything(fleet, server, locale === 'de_DE.UTF-8');
      expect(failed).toBeGreaterThanOrEqual(Object.keys(BROKEN).length + 6);
      await fleet.untilOnline();
      expect(await seenOf(fleet)).not.toContain(CANARY);
      // The server itself wrote the value again and again: there was something to leave out.
      const log = join(server.dataDir, 'log');
      const written = await Promise.all((await readdir(log)).map((name) => readFile(join(log, name), 'utf8')));
      expect(written.join('').split(CANARY).length).toBeGreaterThan(20);
    },
    600_000,
  );
});

async function fill(server: PostgresServer): Promise<void> {
  await server.query('postgres', `create role ${OWNER} login createdb createrole password '${PASSWORD}'`);
  await server.query('postgres', `create role clerk login password '${CANARY}'`);
  await server.query('postgres', `grant pg_read_all_data to ${OWNER}`);
  for (const [database, sql] of Object.entries({ ...BROKEN, unfilled: UNFILLED, fine: FINE })) {
    await server.query('postgres', `create database ${database} owner ${OWNER}`);
    await server.queryAs(OWNER, PASSWORD, database, sql);
  }
  await server.query('postgres', `create database far owner ${OWNER}`);
  await server.query('far', FOREIGN);
  await server.query('postgres', `create database hidden owner ${OWNER}`);
  await server.query(
    'hidden',
    `create table t (v text); insert into t values ('${CANARY}'); alter table t enable row level security; create policy p on t using (v <> '${CANARY}')`,
  );
}

/** Backs up, verifies, restores every way and undoes, with a failure through each; returns how many jobs failed. */
async function failEverything(fleet: Fleet, server: PostgresServer, superuser: boolean): Promise<number> {
  const jobs: JobView[] = [];
  const run = async (spec: JobSpec): Promise<JobView> => {
    const job = await fleet.run(spec);
    jobs.push(job);
    return job;
  };
  const backup = async (target: string, databases: string[]): Promise<string> => {
    const job = await run({ command: 'backup', target, method: null, contents: databases, options: { digests: true } });
    if (job.result?.command !== 'backup') return '';
    return job.result.backup.backupId;
  };
  const restore = async (target: string, backupId: string, mode: DatabaseRestore): Promise<JobView> => {
    const request = aRestoreRequest(backupId, mode);
    const { result } = await run({ command: 'plan', target, request });
    const planHash = result?.command === 'plan' ? result.plan.hash : '0'.repeat(64);
    return await run({ command: 'restore', target, request, planHash });
  };
  const names = [...Object.keys(BROKEN), 'unfilled', 'fine'];
  const ofShop = await backup('shop', names);
  const ofAll = superuser ? await backup('all', [...names, 'far']) : '';
  const targets = [['shop', ofShop] as const, ...(superuser ? [['all', ofAll] as const] : [])];
  await run({ command: 'verify', target: 'shop', backupId: ofShop, level: 6 });
  for (const database of [...Object.keys(BROKEN), 'unfilled'])
    for (const [target, backupId] of targets)
      await restore(target, backupId, { way: 'new', database, as: `${database}_of_${target}` });
  await restore('shop', ofShop, { way: 'in-place', database: 'cast_away' });
  if (superuser) await failAsSuperuser(run, restore, ofAll);
  await restore('shop', ofShop, { way: 'swap', database: 'forged' });
  const swapped = await restore('shop', ofShop, { way: 'swap', database: 'fine' });
  expect(swapped.state).toBe('succeeded');
  expect((await run({ command: 'undo', target: 'shop', restoreJobId: swapped.jobId })).state).toBe('succeeded');
  await run({ command: 'undo', target: 'shop', restoreJobId: swapped.jobId });
  await backup('shop', ['hidden']);
  await backup('wrong', ['fine']);
  await locked(server, () => backup('shop', ['fine']));
  return jobs.filter(({ state }) => state === 'failed').length;
}
/** What a superuser's restore and verification meet, and the passwords of what only a superuser may back up. */
async function failAsSuperuser(
  run: (spec: JobSpec) => Promise<JobView>,
  restore: (target: string, backupId: string, mode: DatabaseRestore) => Promise<JobView>,
  backupId: string,
): Promise<void> {
  await run({ command: 'verify', target: 'all', backupId, level: 6 });
  await restore('all', backupId, { way: 'in-place', database: 'violated' });
}

/** Runs `work` while another client holds a table. */
async function locked(server: PostgresServer, work: () => Promise<unknown>): Promise<void> {
  const client = new pg.Client({
    host: server.host,
    port: server.port,
    user: OWNER,
    password: PASSWORD,
    database: 'fine',
  });
  await client.connect();
  try {
    await client.query(`set application_name = '${CANARY}'; begin; lock table t in access exclusive mode`);
    await work();
  } finally {
    await client.end();
  }
}

/** Everything that the agent and the control plane print, answer and keep; the repository aside, which holds the data. */
async function seenOf(fleet: Fleet): Promise<string> {
  const { client } = fleet;
  const answers = await Promise.all([
    client.jobs.query({ limit: 1000 }),
    client.backups.query({ limit: 1000 }),
    client.targets.query({}),
    client.status.query({}),
    client.audit.query({ limit: 1000 }),
  ]);
  const files: string[] = [];
  for (const folder of ['agent', 'control'])
    for (const entry of await readdir(join(fleet.folder, folder), { recursive: true, withFileTypes: true }))
      if (entry.isFile()) files.push(await readFile(join(entry.parentPath, entry.name), 'latin1'));
  expect(files.length).toBeGreaterThan(3);
  expect(fleet.agentLog).toContain('job ended');
  return [JSON.stringify(answers), fleet.agentLog, fleet.controlLog, ...files].join('\n');
}
