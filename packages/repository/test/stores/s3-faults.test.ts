/** What the S3 store does when the network, the server or the credentials fail. */
import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { HeadObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { Failure } from '@lastgood/core';
import { captureTool, systemClock } from '@lastgood/host';
import {
  type HttpCall,
  HttpFaultProxy,
  missingS3Server,
  type S3Server,
  startS3Server,
  TcpFaultProxy,
  temporaryFolder,
} from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createS3Repository, openS3Repository, probeS3Store, type UploadStep } from '../../src/s3.ts';
import { begin, dump, from, ref } from '../store.ts';
import { s3TestStore } from '../support/s3-test-store.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;
const reason = missingS3Server();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const failureOf = async (work: Promise<unknown>): Promise<{ code: string; message: string; remedy: string }> =>
  await work.then(
    () => ({ code: 'succeeded', message: '', remedy: '' }),
    (error: unknown) => {
      if (!(error instanceof Failure)) throw error;
      return error;
    },
  );
const codeOf = async (work: Promise<unknown>): Promise<string> => (await failureOf(work)).code;
const streamOf = (bytes: Buffer): Readable => Readable.from(pieces(bytes), { objectMode: false });
function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 700_001) yield bytes.subarray(at, at + 700_001);
}

describe.skipIf(reason !== undefined)('S3 store', () => {
  let server: S3Server;
  let credentialsFile: string;
  beforeAll(async () => {
    server = await startS3Server();
    credentialsFile = await server.writeCredentials(server.admin);
  }, 120_000);
  afterAll(() => server?.[Symbol.asyncDispose](), 60_000);

  const unfinished = async (prefix: string): Promise<number> => {
    const found = await server.client.send(new ListMultipartUploadsCommand({ Bucket: server.bucket, Prefix: prefix }));
    return found.Uploads?.length ?? 0;
  };
  const isPart = ({ method, path }: HttpCall): boolean => method === 'PUT' && path.includes('partNumber=');
  const isComplete = ({ method, path }: HttpCall): boolean =>
    method === 'POST' && path.includes('uploadId=') && !path.includes('uploads');

  test('stores a stream of many parts, each with its SHA-256', async () => {
    const steps: UploadStep[] = [];
    await using opened = await s3TestStore(server, credentialsFile, {}, { onStep: (step) => steps.push(step) });
    const bytes = randomBytes(12 * MIB + 5);
    await opened.store.put('a', streamOf(bytes));
    expect(sha256(await buffer(await opened.store.get('a')))).toBe(sha256(bytes));
    const counts = steps.filter((step) => step === 'part-stored').length;
    expect([steps[0], counts, ...steps.slice(-3)]).toEqual([
      'upload-created',
      3,
      'parts-stored',
      'upload-completed',
      'object-stored',
    ]);
    const range = { start: 5 * MIB - 3, end: 10 * MIB + 3 };
    const part = await buffer(await opened.store.get('a', { range }));
    expect(part.equals(bytes.subarray(range.start, range.end))).toBe(true);
  });

  test('with ifAbsent, does not replace an object by a stream of many parts', async () => {
    await using opened = await s3TestStore(server, credentialsFile);
    await opened.store.put('a', Buffer.from('first'));
    const put = opened.store.put('a', streamOf(randomBytes(6 * MIB)), { ifAbsent: true });
    expect(await codeOf(put)).toBe('OBJECT_EXISTS');
    expect((await buffer(await opened.store.get('a'))).toString()).toBe('first');
    expect(await unfinished(opened.location.prefix)).toBe(0);
  });

  test('B7: an upload survives cuts in every part, and a download continues where it was cut', async () => {
    await using proxy = await TcpFaultProxy.open({ port: server.port });
    await using opened = await s3TestStore(server, credentialsFile, { endpoint: `http://127.0.0.1:${proxy.port}` });
    const bytes = randomBytes(16 * MIB);
    for (const direction of ['toServer', 'toClient'] as const) {
      let isDone = false;
      const cuts = (async () => {
        for (let cut = 1; cut <= 6; cut += 1) {
          const start = proxy.bytes(direction);
          await proxy.until(() => isDone || proxy.bytes(direction) - start > 2.5 * MIB);
          if (isDone) return cut - 1;
          proxy.cut();
        }
        return 6;
      })();
      if (direction === 'toServer') await opened.store.put('a', streamOf(bytes));
      else expect(sha256(await buffer(await opened.store.get('a')))).toBe(sha256(bytes));
      isDone = true;
      await opened.store.stat('a');
      expect(await cuts).toBe(6);
    }
    expect(await unfinished(opened.location.prefix)).toBe(0);
  });

  test('E9: a connection that falls silent is given up and opened again', async () => {
    await using proxy = await TcpFaultProxy.open({ port: server.port });
    const endpoint = `http://127.0.0.1:${proxy.port}`;
    await using opened = await s3TestStore(server, credentialsFile, { endpoint }, { idleMs: 1_000 });
    const bytes = randomBytes(3 * MIB);
    await opened.store.put('a', bytes);
    proxy.hold('toClient');
    const accepted = proxy.accepted;
    const reading = opened.store.get('a').then(buffer);
    await proxy.until(() => proxy.accepted > accepted);
    await proxy.resume();
    expect((await reading).equals(bytes)).toBe(true);
  });

  test('a storm of responses with 503 delays requests until it ends, or fails them after the deadline', async () => {
    await using proxy = await HttpFaultProxy.open({ port: server.port });
    await using opened = await s3TestStore(server, credentialsFile, { endpoint: proxy.url });
    let left = 0;
    proxy.inject = () => (left-- > 0 ? { type: 'respond', status: 503, code: 'SlowDown' } : undefined);
    const bytes = randomBytes(6 * MIB);
    left = 4;
    await opened.store.put('a', streamOf(bytes));
    left = 3;
    expect((await buffer(await opened.store.get('a'))).equals(bytes)).toBe(true);
    left = 2;
    await opened.store.remove('a');
    left = 2;
    expect(await opened.store.stat('a')).toBeUndefined();
    const impatient = await opened.reopen({}, { retryForMs: 300 });
    left = Number.POSITIVE_INFINITY;
    expect(await failureOf(impatient.put('b', bytes))).toMatchObject({
      code: 'IO_ERROR',
      message: expect.stringContaining('SlowDown (HTTP 503)'),
    });
    expect(await codeOf(impatient.stat('b'))).toBe('IO_ERROR');
    left = 0;
    await impatient.removePartials('', () => false);
    expect(await unfinished(opened.location.prefix)).toBe(0);
  });

  test('A16: a lost acknowledgment of the last step is recognized, also with ifAbsent', async () => {
    await using proxy = await HttpFaultProxy.open({ port: server.port });
    await using opened = await s3TestStore(server, credentialsFile, { endpoint: proxy.url });
    for (const [name, bytes, isLast] of [
      ['small', Buffer.from('x'), ({ method }: HttpCall) => method === 'PUT'],
      ['large', randomBytes(6 * MIB), isComplete],
    ] as const) {
      let lost = false;
      proxy.inject = (call) => {
        if (lost || !isLast(call)) return undefined;
        lost = true;
        return { type: 'lost acknowledgement' };
      };
      await opened.store.put(name, streamOf(bytes), { ifAbsent: true });
      expect([lost, (await opened.store.stat(name))?.size]).toEqual([true, bytes.length]);
      proxy.inject = () => undefined;
      expect(await codeOf(opened.store.put(name, streamOf(bytes), { ifAbsent: true }))).toBe('OBJECT_EXISTS');
    }
  });

  test('removes the parts when a part is refused permanently', async () => {
    await using proxy = await HttpFaultProxy.open({ port: server.port });
    await using opened = await s3TestStore(server, credentialsFile, { endpoint: proxy.url });
    proxy.inject = (call) =>
      isPart(call) && call.path.includes('partNumber=2')
        ? { type: 'respond', status: 403, code: 'AccessDenied' }
        : undefined;
    expect(await codeOf(opened.store.put('a', streamOf(randomBytes(16 * MIB))))).toBe('REPOSITORY_DENIED');
    expect(await opened.store.stat('a')).toBeUndefined();
    expect(await unfinished(opened.location.prefix)).toBe(0);
  });

  test('I2: ends as soon as a part fails, also while its source gives nothing, and leaves no object without that part', async () => {
    await using proxy = await HttpFaultProxy.open({ port: server.port });
    await using opened = await s3TestStore(server, credentialsFile, { endpoint: proxy.url });
    proxy.inject = (call) =>
      isPart(call) && call.path.includes('partNumber=1')
        ? { type: 'respond', status: 403, code: 'AccessDenied' }
        : undefined;
    // A source that gives its first part and then waits for as long as the test runs.
    const slow = new Readable({ read: () => undefined });
    slow.push(randomBytes(9 * MIB));
    expect(await codeOf(opened.store.put('a', slow))).toBe('REPOSITORY_DENIED');
    slow.destroy();
    expect(await opened.store.stat('a')).toBeUndefined();
    expect(await unfinished(opened.location.prefix)).toBe(0);
  });

  test('reports a full bucket as NO_SPACE, and another region with what to correct, at once', async () => {
    await using proxy = await HttpFaultProxy.open({ port: server.port });
    await using opened = await s3TestStore(server, credentialsFile, { endpoint: proxy.url });
    proxy.inject = () => ({ type: 'respond', status: 507, code: 'InsufficientStorage' });
    expect(await codeOf(opened.store.put('a', Buffer.from('x')))).toBe('NO_SPACE');
    proxy.inject = () => ({ type: 'respond', status: 400, code: 'AuthorizationHeaderMalformed' });
    expect(await failureOf(opened.store.put('a', Buffer.from('x')))).toMatchObject({
      code: 'IO_ERROR',
      remedy: expect.stringContaining('region'),
    });
  });

  test('refuses wrong keys, missing rights and a missing bucket at once, each with its remedy', async () => {
    await using opened = await s3TestStore(server, credentialsFile);
    await opened.store.put('a', Buffer.from('x'));
    const wrong = await server.writeCredentials({ ...server.admin, secretAccessKey: 'wrong' });
    const unknown = await server.writeCredentials({ accessKeyId: 'AKIANOBODY', secretAccessKey: 'wrong' });
    for (const file of [wrong, unknown]) {
      const store = await opened.reopen({ credentialsFile: file });
      const failure = await failureOf(store.put('a', Buffer.from('x')));
      expect([failure.code, failure.remedy]).toEqual(['REPOSITORY_DENIED', expect.stringContaining('credentialsFile')]);
      expect(failure.message).not.toContain('secret');
      expect(await codeOf(store.stat('a'))).toBe('REPOSITORY_DENIED');
    }
    const reader = await opened.reopen({ credentialsFile: await server.writeCredentials(server.reader) });
    expect((await buffer(await reader.get('a'))).toString()).toBe('x');
    expect(await failureOf(reader.put('b', Buffer.from('x')))).toMatchObject({
      code: 'REPOSITORY_DENIED',
      message: expect.stringMatching(/^put of s3:\/\/.*\/b failed: AccessDenied \(HTTP 403\)$/),
    });
    const nowhere = await opened.reopen({ bucket: 'nowhere' });
    for (const work of [
      () => nowhere.check(),
      () => nowhere.stat('a'),
      () => nowhere.get('a'),
      () => nowhere.put('a', Buffer.from('x')),
    ])
      expect(await codeOf(work())).toBe('REPOSITORY_NOT_MOUNTED');
  });

  test('I8: refuses a credentials file that others can read, or that has no keys, before any request', async () => {
    await using folder = await temporaryFolder();
    await using opened = await s3TestStore(server, credentialsFile);
    const file = join(folder.path, 'credentials');
    await writeFile(file, await readFile(credentialsFile), { mode: 0o644 });
    expect(await codeOf(opened.reopen({ credentialsFile: file }))).toBe('DATA_FOLDER_UNSAFE');
    const empty = join(folder.path, 'empty');
    await writeFile(empty, '[other]\naws_access_key_id = x\naws_secret_access_key = y\n', { mode: 0o600 });
    expect(await codeOf(opened.reopen({ credentialsFile: empty }))).toBe('CONFIG_INVALID');
    expect(await codeOf(opened.reopen({ credentialsFile: join(folder.path, 'none') }))).toBe('CONFIG_INVALID');
  });

  test('checks the certificate of the server against the authorities of a file', async () => {
    await using folder = await temporaryFolder();
    const [key, cert] = [join(folder.path, 'key.pem'), join(folder.path, 'cert.pem')];
    await captureTool({
      file: 'openssl',
      args: [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
        ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert],
      ],
      signal: never,
      timeoutMs: 60_000,
    });
    const tls = { key: await readFile(key), cert: await readFile(cert) };
    await using proxy = await HttpFaultProxy.open({ port: server.port, tls });
    await using opened = await s3TestStore(server, credentialsFile, { endpoint: proxy.url, caFile: cert });
    await opened.store.put('a', Buffer.from('x'));
    expect((await buffer(await opened.store.get('a'))).toString()).toBe('x');
    const { caFile: _, ...strict } = opened.location;
    await using untrusting = await s3TestStore(server, credentialsFile, strict, { retryForMs: 0 });
    expect(await failureOf(untrusting.store.stat('a'))).toMatchObject({
      code: 'IO_ERROR',
      message: expect.stringContaining('DEPTH_ZERO_SELF_SIGNED_CERT'),
    });
  });

  test('a server that ignores If-None-Match is refused, and works with conditionalPut off', async () => {
    await using opened = await s3TestStore(server, credentialsFile);
    const options = { understood: [], writer: 'ours' };
    await createS3Repository(opened.store, options);
    await openS3Repository(await opened.reopen(), options);
    await using proxy = await HttpFaultProxy.open({ port: server.port });
    // It responds as if it had stored the object.
    proxy.inject = ({ method }) => (method === 'PUT' ? { type: 'respond', status: 200 } : undefined);
    const ignoring = await opened.reopen({ endpoint: proxy.url });
    expect(await failureOf(openS3Repository(ignoring, options))).toMatchObject({
      code: 'REPOSITORY_UNSAFE',
      remedy: expect.stringContaining('conditionalPut: false'),
    });
    await openS3Repository(ignoring, { understood: [] });
    await openS3Repository(await opened.reopen({ endpoint: proxy.url, conditionalPut: false }), options);
  });

  test('B8: an upload that is confirmed and not stored, or stored with other bytes, fails the backup', async () => {
    await using proxy = await HttpFaultProxy.open({ port: server.port });
    await using opened = await s3TestStore(server, credentialsFile, { endpoint: proxy.url });
    const repository = await createS3Repository(opened.store, { understood: [], writer: 'ours' });
    const isData = ({ method, path }: HttpCall): boolean => method === 'PUT' && path.includes('/data/');
    const writer = await begin(repository);
    proxy.inject = (call) => (isData(call) ? { type: 'respond', status: 200 } : undefined);
    expect(await codeOf(writer.add(dump, from(Buffer.from('rows'))))).toBe('NOT_FOUND');
    proxy.inject = () => undefined;
    await writer.abandon();
    const other = await begin(repository);
    const add = other.add(dump, from(Buffer.from('rows')));
    // Replaced between the upload and the time when it is read back.
    proxy.inject = ({ method, path }) => {
      if (method !== 'GET' || !path.includes('/data/')) return undefined;
      proxy.inject = () => undefined;
      return { type: 'respond', status: 200, code: 'other bytes' };
    };
    expect(await codeOf(add)).toBe('IO_ERROR');
    await other.abandon();
    expect(await repository.list(ref)).toEqual({ backups: [], broken: [] });
  });

  test('makes a repository of an empty prefix only', async () => {
    await using opened = await s3TestStore(server, credentialsFile);
    await opened.store.put('photos/1', Buffer.from('x'));
    const options = { understood: [], writer: 'ours' };
    expect(await codeOf(createS3Repository(opened.store, options))).toBe('REPOSITORY_UNSAFE');
    await opened.store.remove('photos/1');
    const { id } = await createS3Repository(opened.store, options);
    expect((await createS3Repository(await opened.reopen(), options)).id).toBe(id);
  });

  test('a probe reports the clock of the server, and leaves nothing behind', async () => {
    await using opened = await s3TestStore(server, credentialsFile);
    const hour = 3_600_000;
    const probed = await probeS3Store(opened.store, () => systemClock.now() + hour);
    expect(probed.ignoresIfNoneMatch).toBe(false);
    expect(Math.abs(probed.clockAheadMs + hour)).toBeLessThan(60_000);
    const Prefix = opened.location.prefix;
    const listed = await server.client.send(new ListObjectsV2Command({ Bucket: server.bucket, Prefix }));
    expect(listed.Contents ?? []).toEqual([]);
    const reader = await opened.reopen({ credentialsFile: await server.writeCredentials(server.reader) });
    expect(await codeOf(probeS3Store(reader, () => systemClock.now()))).toBe('REPOSITORY_DENIED');
  });

  test('A9: the server keeps the SHA-256 of an object that is stored with one request', async () => {
    await using opened = await s3TestStore(server, credentialsFile);
    const bytes = Buffer.from('rows of the shop');
    await opened.store.put('a', bytes);
    const target = { Bucket: server.bucket, Key: `${opened.location.prefix}/a` };
    const head = await server.client.send(new HeadObjectCommand({ ...target, ChecksumMode: 'ENABLED' }));
    expect(head.ChecksumSHA256).toBe(createHash('sha256').update(bytes).digest('base64'));
  });
});
