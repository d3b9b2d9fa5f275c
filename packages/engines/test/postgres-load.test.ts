import { chmod, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { lyingTool, TcpFaultProxy, temporaryFolder } from '@lastgood/testkit';
import { expect, test, vi } from 'vitest';
import { codeOf, EngineHarness, ref } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();

const ours = async (): Promise<unknown[]> =>
  await server.query(
    'postgres',
    "select datname as left from pg_database where datname ~ '__lastgood_' union all select application_name from pg_stat_activity where application_name ~ '^lastgood load'",
  );

test('an index that takes longer to build than a stall does not count as one, in a restore and in a restore test', async () => {
  await server.query('postgres', 'create database slow');
  await server.query(
    'slow',
    `create function slow(int) returns int language plpgsql immutable as 'begin perform pg_sleep(1); return $1; end';
     create table t (a int); create index on t (slow(a)); insert into t values (1), (2), (3)`,
  );
  await using hasty = await EngineHarness.open(server, { stallMs: 1_500 });
  const { backupId } = await hasty.backup({ databases: ['slow'] });
  await hasty.restore(backupId, { way: 'new', database: 'slow', as: 'slow_copy' });
  expect(await hasty.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
});

test('a pg_restore that hangs in a restore is ended, and nothing of it stays', async () => {
  await using tools = await temporaryFolder();
  await lyingTool(tools.path, 'pg_dump', { lie: 'chatters', line: '', lines: 0 });
  await server.query('postgres', 'create database calm');
  await using hasty = await EngineHarness.open(server, { stallMs: 1_500, binDir: tools.path });
  const { backupId } = await hasty.backup({ databases: ['calm'] });
  await rm(join(tools.path, 'pg_restore'), { force: true });
  const hangs = `#!/bin/sh\ncase " $* " in *--dbname=*) exec sleep infinity;; esac\nexec ${server.binDir}/pg_restore "$@"\n`;
  await writeFile(join(tools.path, 'pg_restore'), hangs);
  await chmod(join(tools.path, 'pg_restore'), 0o755);
  expect(await codeOf(hasty.restore(backupId, { way: 'new', database: 'calm', as: 'calm_copy' }))).toBe('TOOL_STALLED');
  expect(await ours()).toEqual([]);
});

test('F2: a restore that is canceled in the middle of an index leaves no database and no session', async () => {
  await server.query('postgres', 'create database deep');
  await server.query(
    'deep',
    `create function slow(int) returns int language plpgsql immutable as
       'begin if current_database() <> ''deep'' then perform pg_sleep(600); end if; return $1; end';
     create table t (a int); create index on t (slow(a)); insert into t values (1)`,
  );
  const { backupId } = await harness.backup({ databases: ['deep'] });
  const source = await harness.repository.open(ref, backupId);
  const mode = { way: 'new', database: 'deep', as: 'deep_copy' } as const;
  const { hash } = await harness.plan(mode, source, await harness.context());
  const stop = new AbortController();
  const context = await harness.context(stop.signal);
  const restoring = codeOf(harness.carryOut({ restore: mode, jobId: uuidv7(), planHash: hash }, source, context));
  await vi.waitFor(
    async () =>
      expect(
        await server.query(
          'postgres',
          "select from pg_stat_activity where query ~* '^create index' and state = 'active'",
        ),
      ).toHaveLength(1),
    30_000,
  );
  stop.abort(new Failure('JOB_CANCELED', 'enough'));
  expect(await restoring).toBe('JOB_CANCELED');
  expect(await ours()).toEqual([]);
});

/** Restores `slow`, whose index waits in the server, through a network that falls silent then; returns what came of it. */
async function silenced(database: string, stop: AbortController, silent: () => void): Promise<unknown> {
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  await using there = await EngineHarness.open(
    server,
    { host: '127.0.0.1', port: proxy.port, stallMs: 3_000 },
    join(harness.folder, 'repository'),
  );
  await server.query('postgres', `create database ${database}`);
  await server.query(
    database,
    `create function slow(int) returns int language plpgsql immutable as
       'begin if current_database() <> ''${database}'' then perform pg_sleep(600); end if; return $1; end';
     create table t (a int); create index on t (slow(a)); insert into t values (1)`,
  );
  const { backupId } = await harness.backup({ databases: [database] });
  const source = await there.repository.open(ref, backupId);
  const mode = { way: 'new', database, as: `${database}_copy` } as const;
  const { hash } = await there.plan(mode, source, await there.context());
  const context = await there.context(stop.signal);
  const restoring = codeOf(there.carryOut({ restore: mode, jobId: uuidv7(), planHash: hash }, source, context));
  const asleep = "select from pg_stat_activity where datname ~ $1 and wait_event = 'PgSleep'";
  await vi.waitFor(
    async () => expect(await server.query('postgres', asleep, [`^${database}_copy`])).toHaveLength(1),
    30_000,
  );
  // Time for the watch to have looked: its session is open when the network falls silent.
  await vi.waitFor(
    async () =>
      expect(
        await server.query(
          'postgres',
          "select from pg_stat_activity where query ~ 'a.application_name = .1' and pid <> pg_backend_pid()",
        ),
      ).toHaveLength(1),
    30_000,
  );
  proxy.hold('toServer', 'toClient');
  silent();
  const code = await restoring;
  await proxy.resume();
  return code;
}

test('K1: a restore whose network falls silent amid the load stalls, and does not wait for ever', async () => {
  expect(await silenced('mute', new AbortController(), () => undefined)).toBe('TOOL_STALLED');
}, 300_000);

test('K1: a restore that is canceled while its network is silent says that it was canceled', async () => {
  const stop = new AbortController();
  const cancel = (): void => stop.abort(new Failure('JOB_CANCELED', 'enough'));
  expect(await silenced('mute_too', stop, cancel)).toBe('JOB_CANCELED');
}, 300_000);
