import { Failure } from '@lastgood/core';
import { type PostgresServer, startPrimary, TcpFaultProxy } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type PostgresConnection, postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { ReplicationSession, sqlStateOf } from '../src/postgres/replication/replication-session.ts';
import { formatLsn } from '../src/postgres/wal/lsn.ts';
import { codeOf } from './support/engine-harness.ts';

const cleanup = new AsyncDisposableStack();
const signal = new AbortController().signal;
let server: PostgresServer;
let connection: PostgresConnection;

beforeAll(async () => {
  server = cleanup.use(await startPrimary());
  connection = postgresConnectionSchema.parse(server.connection);
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const walsenders = async (): Promise<number> =>
  (await server.query('postgres', "select from pg_stat_activity where backend_type = 'walsender'")).length;

test('identifies the server over TCP and over its socket', async () => {
  const [row] = await server.query(
    'postgres',
    'select system_identifier::text as id, pg_current_wal_flush_lsn()::text as lsn from pg_control_system()',
  );
  for (const host of [server.host, server.socketFolder]) {
    await using session = await ReplicationSession.open({ ...connection, host }, signal);
    const { systemId, timeline, flushLsn } = await session.identify();
    expect({ systemId, timeline }).toEqual({ systemId: row?.['id'], timeline: 1 });
    expect(formatLsn(flushLsn)).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
    expect(await session.show('wal_segment_size')).toBe('16MB');
    expect(await session.serverVersionNumber()).toBeGreaterThan(130_000);
  }
});

test('creates, reads and drops slots', async ({ skip }) => {
  await using session = await ReplicationSession.open(connection, signal);
  skip((await session.serverVersionNumber()) < 150_000, 'READ_REPLICATION_SLOT needs PostgreSQL 15');
  await session.createSlot('kept', 'permanent');
  await session.createSlot('passing', 'temporary');
  expect(await session.readSlot('kept')).toMatchObject({ timeline: 1, restartLsn: expect.any(BigInt) });
  expect(await session.readSlot('missing')).toBeNull();
  await session.dropSlot('kept');
  expect(await session.readSlot('kept')).toBeNull();
  await session[Symbol.asyncDispose]();
  expect(await server.query('postgres', 'select from pg_replication_slots')).toEqual([]);
});

test('an error of the server carries its SQLSTATE and leaves the session usable', async () => {
  await using session = await ReplicationSession.open(connection, signal);
  const error = await session.dropSlot('missing').catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(Failure);
  expect(sqlStateOf(error)).toBe('42704');
  expect((await session.identify()).timeline).toBe(1);
});

test('a role without the right of replication is refused', async () => {
  await server.query('postgres', "create role plain login password 'x'");
  const { writeFile } = await import('node:fs/promises');
  const passfile = `${server.passfile}-plain`;
  await writeFile(passfile, '*:*:*:plain:x\n', { mode: 0o600 });
  expect(await codeOf(ReplicationSession.open({ ...connection, user: 'plain', passfile }, signal))).toBe(
    'DATABASE_REFUSED',
  );
});

test('the passfile is searched for the database "replication", as libpq does', async () => {
  const { readFile, writeFile } = await import('node:fs/promises');
  const password = (await readFile(server.passfile, 'utf8')).trim().split(':').at(-1);
  const passfile = `${server.passfile}-replication`;
  await writeFile(passfile, `*:*:postgres:*:wrong\n*:*:replication:*:${password}\n`, { mode: 0o600 });
  await using session = await ReplicationSession.open({ ...connection, passfile }, signal);
  expect((await session.identify()).timeline).toBe(1);
});

test('a slow consumer makes the server wait: memory stays bounded', async () => {
  await server.query(
    'postgres',
    'create table big as select repeat(md5(i::text), 30) as t from generate_series(1, 60000) as i',
  );
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  await using session = await ReplicationSession.open({ ...connection, port: proxy.port }, signal);
  const isNew = (await session.serverVersionNumber()) >= 150_000;
  const command = session.start(isNew ? "BASE_BACKUP (CHECKPOINT 'fast', WAIT false)" : 'BASE_BACKUP FAST NOWAIT');
  const events = command.events();
  let passed = -1;
  // Nothing is read: the bytes that pass the proxy stop at what sockets and the buffer hold.
  for await (const event of events) if (event.kind === 'data') break;
  void command;
  await vi.waitFor(
    () => {
      const now = proxy.bytes('toClient');
      const same = now === passed;
      passed = now;
      expect(same).toBe(true);
    },
    { timeout: 20_000, interval: 500 },
  );
  expect(passed).toBeLessThan(24 * 1024 * 1024);
});

test('J1: an abort ends the walsender, also while it waits for a checkpoint', async () => {
  await server.query('postgres', 'create table dirty as select generate_series(1, 50000) as i');
  const stop = new AbortController();
  await using session = await ReplicationSession.open(connection, stop.signal);
  const isNew = (await session.serverVersionNumber()) >= 150_000;
  const running = session.rows(isNew ? "BASE_BACKUP (CHECKPOINT 'spread', WAIT false)" : 'BASE_BACKUP NOWAIT');
  await vi.waitFor(async () => expect(await walsenders()).toBeGreaterThan(0), 20_000);
  const reason = new Failure('JOB_CANCELED', 'enough');
  stop.abort(reason);
  await expect(running).rejects.toBe(reason);
  await vi.waitFor(async () => expect(await walsenders()).toBe(0), { timeout: 20_000, interval: 100 });
});

test('a broken connection is a failure, not an end', async () => {
  await using proxy = await TcpFaultProxy.open({ port: server.port });
  await using session = await ReplicationSession.open({ ...connection, port: proxy.port }, signal);
  const isNew = (await session.serverVersionNumber()) >= 150_000;
  proxy.cutAfter({ direction: 'toClient', bytes: 4 * 1024 * 1024 });
  expect(
    await codeOf(session.rows(isNew ? "BASE_BACKUP (CHECKPOINT 'fast', WAIT false)" : 'BASE_BACKUP FAST NOWAIT')),
  ).toBe('DATABASE_UNREACHABLE');
});
