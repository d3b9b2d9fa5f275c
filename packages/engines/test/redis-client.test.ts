import { randomBytes } from 'node:crypto';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '@lastgood/core';
import { captureTool } from '@lastgood/host';
import { freePort, type RedisServer, startRedis, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RedisConnection, RedisSession, ReplyFailure, redisConnectionSchema } from '../src/redis/index.ts';
import { failureOf } from './support/collector.ts';

const WAIT = { timeout: 20_000 };
const PASSWORD = 'correct horse battery staple';
const never = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
let server: RedisServer;
let folder: string;

beforeAll(async () => {
  folder = cleanup.use(await temporaryFolder()).path;
  server = cleanup.use(
    await startRedis({
      password: PASSWORD,
      users: [
        'user narrow on >narrow-secret ~* +ping +info',
        'user open on nopass ~* +ping',
        'user off off nopass +ping',
      ],
      config: { 'enable-debug-command': 'local' },
    }),
  );
});
afterAll(() => cleanup.disposeAsync());

async function secret(name: string, text: string, mode = 0o600): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}
const connect = (change: object = {}): RedisConnection =>
  redisConnectionSchema.parse({ socket: server.socket, passwordFile: server.passwordFile, ...change });
const openAndCall = async (connection: RedisConnection, ...command: [string, ...string[]]): Promise<unknown> => {
  await using session = await RedisSession.open(connection, never);
  return await session.call(...command);
};

describe('a session', () => {
  test('connects by socket and by port, and selects a database', async () => {
    const byPort = connect({ socket: undefined, host: '127.0.0.1', port: server.port });
    expect(await openAndCall(byPort, 'SET', 'greeting', 'grüße')).toBe('OK');
    await using session = await RedisSession.open(connect(), never);
    expect(await session.call('GET', 'greeting')).toBe('grüße');
    expect(await session.callRaw('GET', 'greeting')).toEqual(Buffer.from('grüße'));
    expect(await session.call('INCRBY', 'counter', '9007199254740993')).toBe('9007199254740993');
    await using other = await RedisSession.open(connect(), never, { database: 2 });
    expect(await other.call('EXISTS', 'greeting')).toBe('0');
  });

  test('runs a transaction', async () => {
    await using session = await RedisSession.open(connect(), never);
    expect(await session.transaction([['SELECT', 5], ['SET', 'a', '1'], ['DBSIZE']])).toEqual(['OK', 'OK', '1']);
    const refused = await failureOf(
      session.transaction([
        ['GET', 'a'],
        ['LPUSH', 'a', 'x'],
      ]),
    );
    expect(refused).toMatchObject({ replyCode: 'WRONGTYPE' });
    const unknown = await failureOf(session.transaction([['GET', 'a'], ['NO-SUCH-COMMAND']]));
    expect(unknown).toMatchObject({ replyCode: 'ERR' });
    expect(unknown.message).toContain('NO-SUCH-COMMAND');
    expect(await session.call('PING')).toBe('PONG');
  });

  test('sends no password when there is no file, also to a user without a password', async () => {
    expect(await openAndCall(connect({ user: 'open', passwordFile: undefined }), 'PING')).toBe('PONG');
  });
});

describe('a refusal is a failure by the code of the reply', () => {
  test.for([
    { reply: 'NOAUTH', change: { passwordFile: undefined }, command: ['PING'] },
    { reply: 'WRONGPASS', change: { user: 'narrow' }, command: ['PING'] },
    { reply: 'WRONGPASS', change: { user: 'off', passwordFile: undefined }, command: ['PING'] },
    { reply: 'NOPERM', change: { user: 'open', passwordFile: undefined }, command: ['CONFIG', 'GET', 'dir'] },
    { reply: 'ERR', change: {}, command: ['NO-SUCH-COMMAND'] },
    { reply: 'WRONGTYPE', change: {}, command: ['LPUSH', 'greeting', 'x'] },
  ] as const)('$reply to $command', async ({ reply, change, command }) => {
    const [name, ...args] = command;
    const failure = await failureOf(openAndCall(connect(change), name, ...args));
    expect(failure).toBeInstanceOf(ReplyFailure);
    expect(failure).toMatchObject({ code: 'DATABASE_REFUSED', replyCode: reply });
  });

  test('READONLY, MASTERDOWN and OOM, as servers in these states reply', async () => {
    await using replica = await startRedis({ config: { replicaof: '127.0.0.1 1', 'replica-serve-stale-data': 'no' } });
    const toReplica = redisConnectionSchema.parse(replica.connection);
    expect(await failureOf(openAndCall(toReplica, 'GET', 'a'))).toMatchObject({
      code: 'DATABASE_UNREACHABLE',
      replyCode: 'MASTERDOWN',
    });
    await replica.call('CONFIG', 'SET', 'replica-serve-stale-data', 'yes');
    expect(await failureOf(openAndCall(toReplica, 'SET', 'a', 'b'))).toMatchObject({ replyCode: 'READONLY' });
    await using full = await startRedis({ config: { maxmemory: '1' } });
    const toFull = redisConnectionSchema.parse(full.connection);
    expect(await failureOf(openAndCall(toFull, 'SET', 'a', 'b'))).toMatchObject({ replyCode: 'OOM' });
  });

  test('BUSY while a script runs, and LOADING while data is loaded', async () => {
    await using busy = await startRedis({ config: { 'busy-reply-threshold': '1' } });
    const running = busy.call('EVAL', 'while true do end', '0').catch(() => undefined);
    const toBusy = redisConnectionSchema.parse(busy.connection);
    await expect
      .poll(async () => await failureOf(openAndCall(toBusy, 'GET', 'a')), WAIT)
      .toMatchObject({
        code: 'DATABASE_UNREACHABLE',
        replyCode: 'BUSY',
      });
    await openAndCall(toBusy, 'SCRIPT', 'KILL');
    await running;
    for (let key = 0; key < 30; key += 1) await busy.call('SET', `key:${key}`, randomBytes(2_000));
    await busy.call('SAVE');
    await busy.stop();
    const starting = busy.start({ 'key-load-delay': '100000', 'loading-process-events-interval-bytes': '1024' });
    await expect
      .poll(async () => await failureOf(openAndCall(toBusy, 'GET', 'a')), WAIT)
      .toMatchObject({
        code: 'DATABASE_UNREACHABLE',
        replyCode: 'LOADING',
      });
    expect(String(await openAndCall(toBusy, 'INFO', 'persistence'))).toContain('loading:1');
    await starting;
  });

  test('no text of the server leaves, for it may quote data', async () => {
    const failures = [
      await failureOf(openAndCall(connect(), 'EVAL', "return redis.error_reply('HUNTER2 is the password')", '0')),
      await failureOf(openAndCall(connect(), 'EVAL', "return redis.error_reply('hunter2')", '0')),
      await failureOf(openAndCall(connect(), 'CONFIG', 'SET', 'maxmemory', 'hunter2')),
      await failureOf(openAndCall(connect({ passwordFile: await secret('wrong', 'hunter2') }), 'PING')),
    ];
    for (const failure of failures) {
      expect(JSON.stringify([failure, failure.message, failure.stack, failure.cause])).not.toMatch(/hunter2/i);
      expect(failure).toMatchObject({ code: 'DATABASE_REFUSED' });
    }
  });
});

describe('what hinders a session', () => {
  test('a server that is not there', async () => {
    const byPort = await failureOf(
      openAndCall(connect({ socket: undefined, host: '127.0.0.1', port: await freePort() }), 'PING'),
    );
    expect(byPort).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    expect(byPort.message).toContain('ECONNREFUSED');
    const bySocket = await failureOf(openAndCall(connect({ socket: '/nowhere/redis.sock' }), 'PING'));
    expect(bySocket.message).toContain('ENOENT');
  });

  test('a command without a reply, and a server that dies', async () => {
    await using slow = await startRedis({ config: { 'enable-debug-command': 'local' } });
    const connection = redisConnectionSchema.parse(slow.connection);
    await using session = await RedisSession.open(connection, never, { commandMs: 200 });
    expect(await failureOf(session.call('DEBUG', 'SLEEP', '1'))).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    expect(await failureOf(session.call('PING'))).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    await using other = await RedisSession.open(connection, never);
    const waiting = failureOf(other.call('BLPOP', 'nothing', '0'));
    await slow.kill();
    expect(await waiting).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
  });

  test('an abort ends a waiting command with its reason', async () => {
    const abort = new AbortController();
    await using session = await RedisSession.open(connect(), abort.signal);
    const waiting = failureOf(session.call('BLPOP', 'nothing', '0'));
    await delay(20);
    abort.abort(new Failure('JOB_DEADLINE', 'too late'));
    expect(await waiting).toMatchObject({ code: 'JOB_DEADLINE' });
    expect(await failureOf(session.call('PING'))).toMatchObject({ code: 'JOB_DEADLINE' });
  });

  test.for([
    { file: 'readable by others', mode: 0o644, text: PASSWORD, code: 'DATA_FOLDER_UNSAFE' },
    { file: 'empty', mode: 0o600, text: '', code: 'CONFIG_INVALID' },
    { file: 'of two lines', mode: 0o600, text: `${PASSWORD}\nmore\n`, code: 'CONFIG_INVALID' },
    { file: 'too long', mode: 0o600, text: 'x'.repeat(5000), code: 'CONFIG_INVALID' },
  ])('a password file that is $file', async ({ mode, text, code }) => {
    const passwordFile = await secret('password', text, mode);
    expect(await failureOf(openAndCall(connect({ passwordFile }), 'PING'))).toMatchObject({ code });
  });

  test('a password file that does not exist, and one that is a folder', async () => {
    for (const passwordFile of [join(folder, 'nowhere'), folder])
      expect(await failureOf(openAndCall(connect({ passwordFile }), 'PING'))).toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

describe('TLS', () => {
  async function certify(name: string, subject: string): Promise<{ ca: string; cert: string; key: string }> {
    const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    await captureTool({
      file: 'openssl',
      args: [...args, '-subj', '/CN=db', '-addext', `subjectAltName=${subject}`, '-keyout', key, '-out', cert],
      signal: never,
      timeoutMs: 60_000,
    });
    // The server reads them as another user.
    await chmod(folder, 0o755);
    await chmod(key, 0o644);
    return { ca: cert, cert, key };
  }

  test('checks the certificate and its name, and shows its own', async () => {
    const files = await certify('server', 'IP:127.0.0.1');
    const other = await certify('other', 'IP:127.0.0.1');
    await using guarded = await startRedis({ tls: files, config: { 'tls-auth-clients': 'yes' } });
    const connection = (tls: object): RedisConnection =>
      redisConnectionSchema.parse({
        host: '127.0.0.1',
        port: guarded.tlsPort ?? 0,
        passwordFile: guarded.passwordFile,
        tls,
      });
    expect(await openAndCall(connection(files), 'PING')).toBe('PONG');
    const foreign = await failureOf(openAndCall(connection({ ...files, ca: other.ca }), 'PING'));
    expect(foreign).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    expect(foreign.remedy).toContain('certificate');
    const misnamed = await failureOf(openAndCall(connection({ ...files, servername: 'db.example' }), 'PING'));
    expect(misnamed.message).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(await failureOf(openAndCall(connection({ ca: files.ca }), 'PING'))).toMatchObject({
      code: 'DATABASE_UNREACHABLE',
    });
    expect(await failureOf(openAndCall(connection({ ca: '/nowhere' }), 'PING'))).toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });
});

describe('the connection in the agent file', () => {
  test.for([
    { change: { host: 'a', socket: '/a' }, problem: 'either host or socket' },
    { change: {}, problem: 'either host or socket' },
    { change: { socket: '/a', tls: {} }, problem: 'no TLS' },
    { change: { host: 'a', tls: { cert: '/c' } }, problem: 'belong together' },
    { change: { host: 'a', password: 'secret' }, problem: 'Unrecognized key' },
    { change: { host: 'a', passwordFile: 'relative' }, problem: 'start with' },
  ])('is refused: $problem ($change)', ({ change, problem }) => {
    const parsed = redisConnectionSchema.safeParse(change);
    expect(parsed.error?.issues.map(({ message }) => message).join()).toContain(problem);
  });
});
