import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { type PostgresServer, startPostgres, TcpFaultProxy, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type PostgresConnection, postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { digest } from '../src/postgres/digests.ts';
import { passwordIn } from '../src/postgres/passfile.ts';
import { Session } from '../src/postgres/session.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let connection: PostgresConnection;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  connection = postgresConnectionSchema.parse(server.connection);
  await server.query('postgres', 'create table many as select generate_series(1, 100000) as i');
}, 120_000);
afterAll(() => cleanup.disposeAsync());

/** Digests of as many rows as nobody will wait for. */
const ENDLESS = `select ${digest('row(a.i, b.i)::text')} as value from public.many a, public.many b`;
const running = async (): Promise<number> =>
  (
    await server.query(
      'postgres',
      "select from pg_stat_activity where application_name = 'lastgood' and state = 'active' and backend_type = 'client backend'",
    )
  ).length;

/** A session that computes, and the signal that ends its job. */
async function computing(through: PostgresConnection): Promise<{ stop: AbortController; outcome: Promise<unknown> }> {
  const stop = new AbortController();
  const outcome = (async () => {
    await using session = await Session.open(through, 'postgres', stop.signal);
    await session.run(ENDLESS);
  })().catch((error: unknown) => error);
  await vi.waitFor(async () => expect(await running()).toBe(1), 30_000);
  return { stop, outcome };
}

test('a server that asks for a password of which no passfile knows says so, with what to mend', async () => {
  await using folder = await temporaryFolder();
  const passfile = join(folder.path, 'pgpass');
  await writeFile(passfile, `127.0.0.1:${server.port}:*:somebody else:x\n`, { mode: 0o600 });
  await expect(
    Session.open({ ...connection, passfile }, 'postgres', new AbortController().signal),
  ).rejects.toMatchObject({
    code: 'DATABASE_REFUSED',
    message: expect.stringContaining('asks for a password'),
    remedy: expect.stringContaining('passfile'),
  });
});

test('a passfile that cannot be used is refused with what to do about it', async () => {
  await using folder = await temporaryFolder();
  const open = (passfile: string): Promise<Session> =>
    Session.open({ ...connection, passfile }, 'postgres', new AbortController().signal);
  await expect(open(join(folder.path, 'missing'))).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    remedy: expect.stringContaining('Create the file'),
  });
  const shared = join(folder.path, 'shared');
  await writeFile(shared, 'x', { mode: 0o644 });
  await expect(open(shared)).rejects.toMatchObject({
    code: 'DATA_FOLDER_UNSAFE',
    remedy: `Run chmod 600 ${shared} on the host.`,
  });
  const empty = join(folder.path, 'empty');
  await writeFile(empty, '', { mode: 0o600 });
  await expect(open(empty)).rejects.toMatchObject({
    code: 'DATABASE_REFUSED',
    remedy: expect.stringContaining('Add a line'),
  });
});

test('J1: the end of a job ends what it runs in the server, over TCP and through the socket', async () => {
  for (const host of [server.host, server.socketFolder]) {
    const { stop, outcome } = await computing({ ...connection, host });
    const reason = new Failure('JOB_CANCELED', 'enough');
    stop.abort(reason);
    expect(await outcome).toBe(reason);
    await vi.waitFor(async () => expect(await running()).toBe(0), { timeout: 4_000, interval: 100 });
  }
});

test('A17: a server notices within seconds that its client is gone without a message', async ({ skip }) => {
  const [setting] = await server.query(
    'postgres',
    "select from pg_settings where name = 'client_connection_check_interval'",
  );
  skip(setting === undefined, 'before PostgreSQL 14 a server does not look');
  await using proxy = await TcpFaultProxy.open({ host: server.host, port: server.port });
  const { stop, outcome } = await computing({ ...connection, port: proxy.port });
  proxy.refuse();
  proxy.cut();
  expect(await outcome).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  await vi.waitFor(async () => expect(await running()).toBe(0), { timeout: 20_000, interval: 200 });
  stop.abort();
});

const wanted = { hosts: ['h', 'localhost'], port: 5432, database: 'd:b', user: 'u\\v' };
test.for([
  ['h:5432:d\\:b:u\\\\v:secret', 'secret'],
  ['*:*:*:*:se:cr:et', 'se:cr:et'],
  ['*:*:*:*:se\\:cr\\\\et', 'se:cr\\et'],
  ['*:*:*:*:secret\r', 'secret'],
  ['# *:*:*:*:no\r\n\r\nother:*:*:*:no\r\nlocalhost:*:*:*:yes\r\n', 'yes'],
  ['*:*:*:*: spaced ', ' spaced '],
  ['*:*:*:*:', ''],
  ['\\*:*:*:*:no', undefined],
  ['*:*:*:u:no\n*:5433:*:*:no\n*:*:*', undefined],
  ['', undefined],
] as const)('the passfile %j holds the password %j, as libpq reads it', ([file, password], { expect }) => {
  expect(passwordIn(file, wanted)).toBe(password);
});
