import { chown, copyFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { freePort, type PostgresServer, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { Session } from '../src/postgres/session.ts';
import { EngineHarness, lacking } from './support/engine-harness.ts';

const PASSWORD = 'of the superuser';
const cleanup = new AsyncDisposableStack();
const never = new AbortController().signal;
/** Certificates are made with it; where it is missing, the tests that need them say so. */
const openssl = await captureTool({ file: 'openssl', args: ['version'], signal: never, timeoutMs: 20_000 }).then(
  () => '',
  () => ' (openssl is not installed)',
);
let server: PostgresServer;
let folder: string;

beforeAll(async () => {
  server = cleanup.use(await startPostgres({ superuserPassword: PASSWORD }));
  folder = cleanup.use(await temporaryFolder()).path;
  await server.query('postgres', 'create database shop');
  await server.query('shop', 'create table t as select 1 as i');
}, 120_000);
afterEach(() => vi.unstubAllEnvs());
afterAll(() => cleanup.disposeAsync());

/** A certificate that is its own authority, taken by the server from now on. */
async function certify(name: string, subject: string): Promise<string> {
  const [certificate, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  await captureTool({
    file: 'openssl',
    args: [...args, '-subj', '/CN=db', '-addext', `subjectAltName=${subject}`, '-keyout', key, '-out', certificate],
    signal: never,
    timeoutMs: 60_000,
  });
  const owner = await stat(server.dataDir);
  for (const [from, to] of [
    [certificate, 'server.crt'],
    [key, 'server.key'],
  ] as const) {
    await copyFile(from, join(server.dataDir, to));
    await chown(join(server.dataDir, to), owner.uid, owner.gid);
  }
  await server.query('postgres', 'alter system set ssl = on');
  await server.query('postgres', 'select pg_reload_conf()');
  return certificate;
}
/** Who may come in, and how; one who comes in without TLS is us, to set things up. */
async function admit(way: 'hostssl' | 'hostnossl' | 'host'): Promise<void> {
  const lines = [
    `${way} all guarded 127.0.0.1/32 scram-sha-256`,
    'host all lg_super 127.0.0.1/32 scram-sha-256',
    'host all guarded ::1/128 scram-sha-256',
  ];
  await writeFile(join(server.dataDir, 'pg_hba.conf'), `${lines.join('\n')}\n`);
  await server.query('postgres', 'select pg_reload_conf()');
}
const encrypted = async (over: object): Promise<boolean> => {
  const connection = postgresConnectionSchema.parse({ ...server.connection, ...over });
  await using session = await Session.open(connection, 'shop', never);
  const { ssl } = await session.one<{ ssl: boolean }>('select ssl from pg_stat_ssl where pid = pg_backend_pid()');
  return ssl;
};

test.skipIf(openssl !== '')(
  `a server without TLS, with it, and with nothing else is backed up with sslmode prefer, as libpq would connect${openssl}`,
  async ({ skip }) => {
    skip(...(await lacking(server, 'ssl')));
    const passfile = join(folder, 'pgpass');
    await writeFile(passfile, '*:*:*:guarded:pass\n', { mode: 0o600 });
    await server.query('postgres', "create role guarded superuser login password 'pass'");
    const guarded = { user: 'guarded', passfile };
    expect(await encrypted(guarded)).toBe(false);
    await expect(encrypted({ ...guarded, sslmode: 'require' })).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    await certify('first', 'DNS:elsewhere.example');
    for (const [way, ssl] of [
      ['hostssl', true],
      ['host', true],
      ['hostnossl', false],
    ] as const) {
      await admit(way);
      await vi.waitFor(async () => expect([way, await encrypted(guarded)]).toEqual([way, ssl]), 10_000);
      await using bench = await EngineHarness.open(server, guarded);
      await bench.backup();
    }
    await expect(encrypted({ ...guarded, sslmode: 'require' })).rejects.toMatchObject({ code: 'DATABASE_REFUSED' });
    await expect(encrypted({ ...guarded, sslmode: 'disable' })).resolves.toBe(false);
  },
);

test.skipIf(openssl !== '')(
  `verify-ca asks who signed the certificate, verify-full also whose it is${openssl}`,
  async ({ skip }) => {
    skip(...(await lacking(server, 'ssl')));
    const certificate = await certify('other', 'DNS:elsewhere.example');
    const outcomes = async (): Promise<string[]> =>
      await Promise.all(
        ['verify-ca', 'verify-full'].map((sslmode) =>
          encrypted({ sslmode }).then(
            (ssl) => (ssl ? 'encrypted' : 'plain'),
            (error: { code: string }) => error.code,
          ),
        ),
      );
    vi.stubEnv('PGSSLROOTCERT', join(folder, 'none.crt'));
    expect(await outcomes()).toEqual(['CONFIG_INVALID', 'CONFIG_INVALID']);
    vi.stubEnv('PGSSLROOTCERT', join(folder, 'first.crt'));
    await vi.waitFor(
      async () => expect(await outcomes()).toEqual(['DATABASE_UNREACHABLE', 'DATABASE_UNREACHABLE']),
      10_000,
    );
    vi.stubEnv('PGSSLROOTCERT', certificate);
    expect(await outcomes()).toEqual(['encrypted', 'DATABASE_UNREACHABLE']);
    await using bench = await EngineHarness.open(server, { sslmode: 'verify-ca' });
    await bench.backup();
    vi.stubEnv('PGSSLROOTCERT', await certify('ours', 'IP:127.0.0.1'));
    await vi.waitFor(async () => expect(await outcomes()).toEqual(['encrypted', 'encrypted']), 10_000);
  },
);

test("I8: nothing of libpq's environment but its certificates reaches a session or a tool", async () => {
  const nowhere = {
    PGSERVICE: 'nowhere',
    PGHOSTADDR: '192.0.2.1',
    PGHOST: '192.0.2.1',
    PGPORT: '1',
    PGOPTIONS: '-c no_such=1',
  };
  const wrong = {
    PGPASSWORD: 'wrong',
    PGUSER: 'nobody',
    PGSSLMODE: 'verify-full',
    PGREQUIRESSL: '1',
    PG_COLOR: 'always',
  };
  const odd = {
    PGCHANNELBINDING: 'require',
    PGTARGETSESSIONATTRS: 'standby',
    PGCLIENTENCODING: 'LATIN1',
    PGTZ: 'Asia/Tokyo',
  };
  for (const [name, value] of Object.entries({ ...nowhere, ...wrong, ...odd, PGSSLNEGOTIATION: 'direct' }))
    vi.stubEnv(name, value);
  await using bench = await EngineHarness.open(server);
  const { backupId } = await bench.backup();
  expect(await bench.verify(6, backupId)).toMatchObject({ reached: 6, findings: [] });
  await bench.restore(backupId, { way: 'swap', database: 'shop' });
  // Without a passfile that names one, the password of the environment must not be taken either.
  const passfile = join(folder, 'empty');
  await writeFile(passfile, '', { mode: 0o600 });
  vi.stubEnv('PGPASSWORD', PASSWORD);
  await expect(encrypted({ passfile })).rejects.toThrow();
});

test('a server that is out of reach is not tried again without TLS', async () => {
  await expect(encrypted({ port: await freePort() })).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' });
});
