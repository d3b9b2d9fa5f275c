import { readdirSync, readFileSync } from 'node:fs';
import { chmod, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Failure, type JobProgress } from '@lastgood/core';
import { captureTool, runTool, uuidv7 } from '@lastgood/host';
import { makeFinding } from '@lastgood/protocol';
import { freePort, lyingTool, type PostgresServer, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import pg from 'pg';
import { beforeAll, expect, test, vi } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { Session } from '../src/postgres/session.ts';
import { EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const PASSWORD = 'super:secret';
const never = new AbortController().signal;
const { server, harness, cleanup } = await usePostgres({ superuserPassword: PASSWORD });

beforeAll(async () => {
  await seedShop(server, 'shop', { rows: 500 });
}, 120_000);

const failureOf = async (work: Promise<unknown>): Promise<Failure> =>
  await work.then(
    () => {
      throw new Error('nothing was refused');
    },
    (error: unknown) => {
      if (error instanceof Failure) return error;
      throw error;
    },
  );

/** An engine that connects as a role without more rights than were given to it. */
async function benchAs(role: string): Promise<EngineHarness> {
  const { path } = cleanup.use(await temporaryFolder());
  const passfile = join(path, 'pgpass');
  await writeFile(passfile, `*:*:*:${role}:pass of ${role}\n`, { mode: 0o600 });
  await server.query('postgres', `create role ${role} login password 'pass of ${role}'`);
  return cleanup.use(await EngineHarness.open(server, { user: role, passfile, database: 'guarded' }));
}

test('A11: what a role may not read fails the backup with the exact object, whichever kind it is', async () => {
  await server.query('postgres', 'create database guarded');
  await server.query('guarded', 'create schema hidden');
  await server.query('guarded', 'create table "the ledger" (id int); create table hidden.away (id int)');
  await server.query('guarded', "create table rows_of_others (who text); insert into rows_of_others values ('x')");
  const reader = await benchAs('reader_of_some');
  const attempt = () => failureOf(reader.backup({ databases: ['guarded'] }));
  const refused = (object: string) => ({ code: 'DATABASE_REFUSED', message: expect.stringContaining(object) });

  const grants = new Map([
    ['schema "hidden"', 'usage on schema hidden'],
    ['"away"', 'select on hidden.away'],
    ['rows_of_others', 'select on rows_of_others'],
    ['the ledger', 'select on "the ledger"'],
  ]);
  while (grants.size > 0) {
    const { code, message } = await attempt();
    expect(code).toBe('DATABASE_REFUSED');
    const named = [...grants.keys()].find((object) => message.includes(object));
    expect(named, message).toBeDefined();
    await server.query('guarded', `grant ${grants.get(named ?? '')} to reader_of_some`);
    grants.delete(named ?? '');
  }
  const { backupId, warnings } = await reader.backup({ databases: ['guarded'] });
  expect(warnings).toContainEqual(makeFinding('ROLE_PASSWORDS_LEFT_OUT', null));

  await server.query('guarded', 'create sequence counted; select nextval($$counted$$)');
  expect(await attempt()).toMatchObject(refused('counted'));
  await server.query('guarded', 'drop sequence counted');
  await server.query('guarded', 'alter table rows_of_others enable row level security');
  expect(await attempt()).toMatchObject(refused('rows_of_others'));
  await server.query('guarded', 'alter table rows_of_others disable row level security');
  const [made] = await server.query('guarded', "select lo_from_bytea(0, 'x')::text as oid");
  expect(await attempt()).toMatchObject(refused(`large object "${String(made?.['oid'])}"`));
  await server.query('guarded', `grant select on large object ${String(made?.['oid'])} to reader_of_some`);
  const later = await reader.backup({ databases: ['guarded'] });
  expect(await reader.listed()).toEqual([backupId, later.backupId]);
  expect(await reader.verify(6, later.backupId)).toMatchObject({ reached: 6, findings: [] });
});

test('A11: a database that the role may not enter is refused by name', async () => {
  await server.query('postgres', 'create database closed_to_most');
  await server.query('postgres', 'revoke connect on database closed_to_most from public');
  const outsider = await benchAs('outsider');
  const failure = await failureOf(outsider.backup({ databases: ['closed_to_most'] }));
  expect(failure).toMatchObject({ code: 'DATABASE_REFUSED', message: expect.stringContaining('closed_to_most') });
  expect(await outsider.listed()).toEqual([]);
});

/** A real standby of the server, made as a person would make it. */
async function startStandby(): Promise<Pick<PostgresServer, 'connection'>> {
  const { path } = cleanup.use(await temporaryFolder());
  const owner = await stat(server.dataDir);
  const user = process.getuid?.() === 0 ? { user: { uid: owner.uid, gid: owner.gid } } : {};
  await chmod(path, 0o777);
  const port = await freePort();
  const data = join(path, 'data');
  await captureTool({
    file: join(server.binDir, 'pg_basebackup'),
    args: ['-D', data, '-R', '-X', 'stream', '--checkpoint=fast', '--no-sync'],
    env: { PGHOST: server.host, PGPORT: String(server.port), PGUSER: server.user, PGPASSWORD: PASSWORD },
    signal: never,
    timeoutMs: 120_000,
    cwd: path,
    ...user,
  });
  const stop = new AbortController();
  const settings = ['-c', `port=${port}`, '-c', `unix_socket_directories=${path}`];
  const running = runTool({
    file: join(server.binDir, 'postgres'),
    args: ['-D', data, ...settings],
    signal: stop.signal,
    timeoutMs: 600_000,
    stopSignal: 'SIGINT',
    cwd: path,
    ...user,
  });
  running.catch(() => undefined);
  cleanup.defer(async () => {
    stop.abort();
    await running.catch(() => undefined);
  });
  return { connection: { ...server.connection, port } };
}

test('A12: a standby is backed up without parallel work, marked as one, and passes level 6', async () => {
  const standby = await startStandby();
  const there = cleanup.use(await EngineHarness.open(standby));
  await vi.waitFor(async () => expect((await there.engine.probe(await there.context())).state).toBe('ok'), {
    timeout: 60_000,
    interval: 200,
  });
  const manifest = await there.backup();
  expect(manifest.engineFacts['standby']).toBe(true);
  expect(manifest.server.systemId).toBe((await harness.backup()).server.systemId);
  expect(await there.verify(6, manifest.backupId)).toMatchObject({ reached: 6, findings: [] });
  const source = await there.repository.open(ref, manifest.backupId);
  const plan = await there.plan({ way: 'swap', database: 'shop' }, source, await there.context());
  expect(plan.refusals).toMatchObject([{ code: 'SERVER_IS_STANDBY' }]);
});

test('A13: a schema that changes without pause under the dump gives a backup that passes level 6, or a failure with a code', async () => {
  await server.query('postgres', 'create database restless');
  await server.query('restless', 'create table steady as select generate_series(1, 2000) as i');
  const stop = new AbortController();
  const change = async (name: string, pause: number): Promise<number> => {
    const client = new pg.Client({ ...login(), database: 'restless' });
    await client.connect();
    let rounds = 0;
    try {
      for (; !stop.signal.aborted; rounds += 1) {
        await client.query(`select pg_sleep(${pause}); create table ${name} as select generate_series(1, 500) as i`);
        await client.query(`create sequence ${name}_seq`);
        await client.query(`select pg_sleep(${pause}); truncate ${name}`);
        await client.query(`insert into ${name} values (1), (2)`);
        await client.query(`alter table ${name} add column extra text`);
        await client.query(`select pg_sleep(${pause}); drop table ${name}; drop sequence ${name}_seq`);
      }
    } finally {
      await client.end();
    }
    return rounds;
  };
  const changing = [change('coming', 0.15), change('going', 0.1)];
  const outcomes: string[] = [];
  let proven = 0;
  try {
    for (let round = 0; round < 15 || (proven === 0 && round < 60); round += 1) {
      const taken = await harness.backup({ databases: ['restless'] }).catch((error: unknown) => {
        if (error instanceof Failure) return error;
        throw error;
      });
      if (taken instanceof Failure) outcomes.push(taken.code);
      else {
        expect(await harness.verify(6, taken.backupId)).toMatchObject({ reached: 6, findings: [] });
        proven += 1;
      }
    }
  } finally {
    stop.abort();
  }
  for (const rounds of await Promise.all(changing)) expect(rounds).toBeGreaterThan(5);

  expect(outcomes.filter((code) => code !== 'SOURCE_CHANGED')).toEqual([]);
  expect(proven).toBeGreaterThan(0);
});

test('A13: a table cannot be emptied between its dump and its fingerprint', async () => {
  await server.query('postgres', 'create database emptied');
  await server.query('emptied', 'create table a_first as select 1 as i; create table b_next as select 2 as i');
  let emptying: Promise<unknown> | undefined;
  const progress = ({ phase, doneItems, totalItems }: JobProgress): void => {
    if (phase === 'fingerprint' && doneItems === 0 && totalItems === 2)
      emptying = server.query('emptied', 'truncate b_next');
  };
  const { backupId } = await harness.backup({ databases: ['emptied'], progress });
  expect(emptying).toBeDefined();
  await emptying;
  expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  expect(await server.query('emptied', 'select * from b_next')).toEqual([]);
});

test('A13: a table that is altered, renamed or exchanged before its fingerprint fails the backup typed, with its name', async () => {
  await server.query('postgres', 'create database reshaped');
  await server.query('reshaped', 'create table changing as select 1 as i; create table a as select 1 as i');
  for (const change of [
    'alter table changing add column extra text',
    'alter table changing alter column i type bigint',
    'alter table changing rename column i to j',
    'truncate changing',
    'alter table changing rename to old; create table changing as select 1::bigint as j, null::text as extra',
  ]) {
    // Between the snapshot and pg_dump: nothing is locked then.
    const engineBench = cleanup.use(await EngineHarness.open(server, { binDir: await pausing(change) }));
    const failure = await failureOf(engineBench.backup({ databases: ['reshaped'] }));
    expect([change, failure.code]).toEqual([change, 'SOURCE_CHANGED']);
    expect(failure.message).toContain('changing');
  }
});

test('A13: a materialized view that is out of date, or filled anew under the backup, neither fails it nor its restore', async () => {
  await server.query('postgres', 'create database stale');
  await server.query('stale', 'create table base as select generate_series(1, 10) as i');
  await server.query('stale', 'create materialized view seen as select * from base; insert into base values (11)');
  let refreshing: Promise<unknown> | undefined;
  const progress = ({ phase, doneItems, totalItems }: JobProgress): void => {
    if (phase === 'fingerprint' && doneItems === 0 && totalItems === 2)
      refreshing = server.query('stale', 'refresh materialized view seen');
  };
  for (const disturb of [undefined, progress]) {
    const { backupId } = await harness.backup({ databases: ['stale'], ...(disturb && { progress: disturb }) });
    expect(refreshing !== undefined).toBe(disturb !== undefined);
    await refreshing;
    expect(await harness.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
    const as = `stale_${String(disturb === undefined)}`;
    await harness.restore(backupId, { way: 'new', database: 'stale', as });
    expect(await server.query(as, 'select count(*)::int as n from seen')).toEqual([{ n: 11 }]);
  }
});

test('I8: no password is in the arguments of a process while a backup, restore test or restore runs, nor in what they store', async () => {
  const secrets = [PASSWORD, `pass of reader_of_some`];
  let looks = 0;
  const progress = (): void => {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      if (Number(pid) === process.pid) continue;
      let seen = '';
      try {
        seen = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      } catch {
        continue;
      }
      for (const secret of secrets) expect(seen).not.toContain(secret);
    }
    looks += 1;
  };
  const manifest = await harness.backup({ progress });
  await harness.verify(5, manifest.backupId, await harness.context(undefined, progress));
  const source = await harness.repository.open(ref, manifest.backupId);
  const mode = { way: 'new', database: 'shop', as: 'shop without secrets' } as const;
  const { hash } = await harness.plan(mode, source, await harness.context());
  const context = await harness.context(undefined, progress);
  await harness.carryOut({ restore: mode, jobId: uuidv7(), planHash: hash }, source, context);
  expect(looks).toBeGreaterThan(10);
  const stored = [JSON.stringify(manifest)];
  for (const object of manifest.objects.filter(({ role }) => role !== 'dump'))
    stored.push(await text(source.open(object, never)));
  for (const secret of secrets) expect(stored.join()).not.toContain(secret);
});

/** Client tools of which pg_dump first has the source changed, as another client would at that moment. */
async function pausing(change: string): Promise<string> {
  const { path } = cleanup.use(await temporaryFolder());
  const file = await lyingTool(path, 'pg_dump', { lie: 'chatters', line: '', lines: 0 });
  const real = join(server.binDir, 'pg_dump');
  const psql = `${join(server.binDir, 'psql')} -X -q -d reshaped -c '${change}'`;
  await rm(file);
  await writeFile(file, `#!/bin/sh\n[ "$1" = --version ] || ${psql} >&2 || exit 9\nexec ${real} "$@"\n`, {
    mode: 0o755,
  });
  return path;
}

const login = () => ({ host: server.host, port: server.port, user: server.user, password: PASSWORD });

test('A14: a lock that another session holds ends the backup after its wait, and nobody waits for us afterwards', async () => {
  const impatient = cleanup.use(await EngineHarness.open(server, { lockWaitMs: 500 }));
  const client = new pg.Client({ ...login(), database: 'shop' });
  await client.connect();
  try {
    await client.query('begin; lock table orders in access exclusive mode');
    const failure = await failureOf(impatient.backup());
    expect(failure).toMatchObject({ code: 'TARGET_BUSY', message: expect.stringContaining('orders') });
    expect(failure.message).toContain('gave way');
    expect(await impatient.listed()).toEqual([]);
    const ours = "select count(*)::int as n from pg_stat_activity where application_name = 'lastgood'";
    await vi.waitFor(async () => expect(await server.query('postgres', ours)).toEqual([{ n: 0 }]), 10_000);
    await client.query('alter table orders alter column note set statistics 200; commit');
  } finally {
    await client.end();
  }
  await impatient.backup();
  await server.query('shop', "set lock_timeout = '2s'; lock table orders in access exclusive mode");
});

test('A14: a lock that only pg_dump meets ends it after its wait as well', async () => {
  await server.query('postgres', 'create database partitioned');
  await server.query('partitioned', 'create table split (i int) partition by range (i)');
  const impatient = cleanup.use(await EngineHarness.open(server, { lockWaitMs: 500 }));
  const client = new pg.Client({ ...login(), database: 'partitioned' });
  await client.connect();
  try {
    await client.query('begin; lock table split in access exclusive mode');
    const failure = await failureOf(impatient.backup({ databases: ['partitioned'] }));
    expect(failure).toMatchObject({ code: 'TARGET_BUSY', message: expect.stringContaining('gave way') });
  } finally {
    await client.end();
  }
});

test('a server whose table of locks holds just what pg_dump needs is backed up, and one that it is too small for says how to mend it', async () => {
  await using full = await startPostgres({ extraConf: 'max_locks_per_transaction = 10\nmax_connections = 20' });
  await using there = await EngineHarness.open(full);
  // pg_dump takes two locks for each of these, on the table and on its sequence; reading them takes two more, on the indexes.
  const make = async (count: number, columns: string): Promise<void> => {
    await full.query('postgres', `create schema "${count}"`);
    await full.query(
      'postgres',
      `do $$ begin for i in 1..${count} loop execute format('create table "${count}".t%s (${columns})', i); commit; end loop; end $$`,
    );
  };
  await make(200, 'id serial primary key, v text unique');
  const { backupId } = await there.backup({ databases: ['postgres'] });
  expect(await there.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  await make(2_500, '');
  const failure = await failureOf(there.backup({ databases: ['postgres'] }));
  expect(failure).toMatchObject({ message: expect.stringContaining('(SQLSTATE 53200)') });
  expect(failure.remedy).toContain('max_locks_per_transaction');
  expect(await there.listed()).toEqual([backupId]);
});

test('a server that ends idle sessions and long statements and transactions can be backed up, restore-tested and restored', async () => {
  await using hasty = await startPostgres();
  await seedShop(hasty, 'shop', { rows: 500 });
  const { path } = cleanup.use(await temporaryFolder());
  for (const tool of ['pg_dump', 'pg_restore'] as const) await lyingTool(path, tool, { lie: 'dawdles', seconds: 1 });
  await using there = await EngineHarness.open(hasty, { binDir: path });
  const limits = [
    'statement_timeout',
    'transaction_timeout',
    'idle_session_timeout',
    'idle_in_transaction_session_timeout',
  ];
  for (const { name } of await hasty.query('postgres', 'select name from pg_settings where name = any($1)', [limits]))
    await hasty.query('postgres', `alter system set ${String(name)} = '600ms'`);
  await hasty.query('postgres', 'select pg_reload_conf()');
  const { backupId } = await there.backup();
  expect(await there.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  expect(await there.restore(backupId, { way: 'swap', database: 'shop' })).toMatchObject({
    setAsideAs: expect.stringContaining('shop__lastgood_old_'),
  });
});

test('a session that the server ended says why, not that it is unusable', async () => {
  const context = await harness.context();
  const session = await Session.open(postgresConnectionSchema.parse(server.connection), 'postgres', context.signal);
  try {
    const { pid } = await session.one<{ pid: number }>('select pg_backend_pid() as pid');
    await server.query('postgres', 'select pg_terminate_backend($1)', [pid]);
    await vi.waitFor(async () =>
      expect(await server.query('postgres', 'select from pg_stat_activity where pid = $1', [pid])).toEqual([]),
    );
    const failure = await failureOf(session.run('select 1'));
    expect(failure).toMatchObject({
      code: 'DATABASE_UNREACHABLE',
      message: expect.stringContaining('admin shutdown (SQLSTATE 57P01)'),
    });
  } finally {
    await session[Symbol.asyncDispose]();
  }
});
