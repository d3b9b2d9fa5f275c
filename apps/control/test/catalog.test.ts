import { randomUUID } from 'node:crypto';
import { chmod, chown, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobSpec } from '@lastgood/protocol';
import { smallFileSystem, temporaryFolder } from '@lastgood/testkit';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import type { Change } from '../src/catalog/catalog.ts';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';
import { digestOf } from './support/digest.ts';

const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
const audit = (subject: string): Change => ({
  type: 'audit',
  entry: { at: 1, actor: 'test', action: 'test', subject, detail: '' },
});

test('C1: the connection of the catalog is in WAL with synchronous=FULL, on the first open and on every other', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'catalog.sqlite');
  for (let n = 0; n < 3; n += 1) {
    const catalog = await openSqliteCatalog(file);
    await catalog.commit([audit('x')]);
    expect(await catalog.durability()).toEqual({ journalMode: 'wal', synchronous: 2, foreignKeys: 1 });
    await catalog.close();
  }
});

test('a commit is made whole or not at all, and one that is refused takes no other with it', async () => {
  await using folder = await temporaryFolder();
  const catalog = await openSqliteCatalog(join(folder.path, 'catalog.sqlite'));
  const used: Change = { type: 'token.use', id: 'nobody', at: 1 };
  const outcomes = await Promise.allSettled([
    catalog.commit([audit('one')]),
    catalog.commit([audit('two'), used]),
    catalog.commit([audit('three')]),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect((await catalog.audit.list(10)).map(({ subject }) => subject)).toEqual(['three', 'one']);
  await catalog.close();
});

test('the files of the data folder are closed to others', async () => {
  await using bench = await ControlHarness.start();
  expect((await stat(bench.dataDir)).mode & 0o777).toBe(0o700);
  for (const name of await readdir(bench.dataDir))
    expect({ name, mode: (await stat(join(bench.dataDir, name))).mode & 0o077 }).toEqual({ name, mode: 0 });
});

test('B16: a data folder of our own that others may read is closed to them before anything lies in it', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'control');
  await mkdir(dataDir, { mode: 0o777 });
  await chmod(dataDir, 0o777);
  await using bench = await ControlHarness.start({ dataDir });
  expect((await stat(bench.dataDir)).mode & 0o777).toBe(0o700);
});

test('B16: a data folder that is a symlink, a file, or a file that others may read in it, is refused', async () => {
  await using folder = await temporaryFolder();
  const real = join(folder.path, 'real');
  await mkdir(real, { mode: 0o700 });
  await symlink(real, join(folder.path, 'link'));
  await expect(ControlHarness.start({ dataDir: join(folder.path, 'link') })).rejects.toMatchObject({
    code: 'DATA_FOLDER_UNSAFE',
  });
  await writeFile(join(folder.path, 'file'), '');
  await expect(ControlHarness.start({ dataDir: join(folder.path, 'file') })).rejects.toThrow();
  // What another could plant in place of the catalog is not opened.
  await symlink('/etc/hostname', join(real, 'catalog.sqlite'));
  await expect(ControlHarness.start({ dataDir: real })).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
});

const root = process.getuid?.() === 0;
test.skipIf(!root)('B16: a data folder of another user is refused (needs root to make one)', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'control');
  await mkdir(dataDir, { mode: 0o700 });
  await chown(dataDir, 65_534, 65_534);
  await expect(ControlHarness.start({ dataDir })).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
  await chown(dataDir, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  const bench = await ControlHarness.start({ dataDir });
  await bench.close();
  await chown(join(dataDir, 'catalog.sqlite'), 65_534, 65_534);
  await expect(bench.open()).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
  await bench[Symbol.asyncDispose]();
});

test('one data folder is held by one control plane', async () => {
  await using bench = await ControlHarness.start();
  await expect(ControlHarness.start({ dataDir: bench.dataDir })).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  expect((await fetch(`${bench.url}/healthz`)).status).toBe(200);
  await bench.close();
  await bench.open();
});

test('a catalog that is not a database is refused with a code, and not changed', async () => {
  await using bench = await ControlHarness.start();
  await bench.close();
  await writeFile(bench.catalogFile, 'not a database at all, but long enough to be taken for one'.repeat(100));
  await expect(bench.open()).rejects.toMatchObject({ code: 'IO_ERROR' });
  expect((await stat(bench.catalogFile)).size).toBe(5_800);
});

async function health(bench: ControlHarness): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${bench.url}/healthz`);
  return { status: response.status, body: await response.json() };
}

test('C5: a token that cannot be read from the catalog is answered with 503 and a code', async () => {
  await using bench = await ControlHarness.start();
  const other = new Database(bench.catalogFile);
  other.exec('alter table tokens rename to elsewhere');
  const answer = await bench.call('query', 'hosts', undefined, bench.adminToken);
  expect(answer).toMatchObject({ status: 503, failure: { code: 'IO_ERROR' } });
  other.exec('alter table elsewhere rename to tokens');
  other.close();
  expect((await bench.call('query', 'hosts', undefined, bench.adminToken)).status).toBe(200);
});

test('C5: while another process holds the catalog, reads are served, changes are refused with a code, and work when it is free', async () => {
  await using bench = await ControlHarness.start({ limits: { maintenanceMs: 50 } });
  const agent = await AgentSocket.connect(bench, await bench.enroll());
  await agent.announce('shop');
  const unused = await bench.tokenOf('read');
  // Long enough for a use to be noted again.
  bench.clock.advance(61_000);
  const other = new Database(bench.catalogFile);
  other.exec('begin immediate');
  const before = digestOf(bench.catalogFile);
  const input = { target: 'shop', spec: backup, idempotencyKey: randomUUID() };
  const refused = await bench.call('mutation', 'createJob', input, bench.adminToken);
  expect(refused).toMatchObject({ status: 503, failure: { code: 'IO_ERROR' } });
  expect(refused.text).not.toMatch(/insert into|node_modules/i);
  // Who only reads is served, also with a token whose use is to be noted.
  for (const token of [unused, bench.adminToken])
    expect((await bench.call('query', 'hosts', undefined, token)).status).toBe(200);
  expect(await health(bench)).toMatchObject({ status: 503, body: { error: { code: 'IO_ERROR' } } });
  other.exec('rollback');
  other.close();
  // Found out without a change of anybody.
  await until('the health to return', async () => ((await health(bench)).status === 200 ? true : undefined));
  const { meta: _probed, ...rest } = before;
  expect(digestOf(bench.catalogFile)).toMatchObject(rest);
  expect((await bench.call('mutation', 'createJob', input, bench.adminToken)).status).toBe(200);
  await until('the command', () => agent.commands[0]);
});

const small = await smallFileSystem(8 * 1024 * 1024);
test.skipIf(small.path === null)(
  `C5: a full disk refuses changes and reports with a code, keeps the process, and is forgotten when there is space (${small.reason ?? 'tmpfs'})`,
  async () => {
    await using disk = small;
    if (disk.path === null) return;
    await using bench = await ControlHarness.start({
      dataDir: join(disk.path, 'control'),
      limits: { maintenanceMs: 50 },
    });
    const unused = await bench.tokenOf('read');
    const identity = await bench.enroll();
    const agent = await AgentSocket.connect(bench, identity);
    await agent.announce('shop');
    const admin = bench.admin();
    const { jobId } = await admin.createJob.mutate({ target: 'shop', spec: backup, idempotencyKey: randomUUID() });
    await until('the command', () => agent.commands[0]);
    await disk.fill();
    // The write-ahead log has free pages at first; they are used up.
    const failures: { status: number; code: string | undefined }[] = [];
    for (let n = 0; n < 5_000 && failures.length < 3; n += 1) {
      const { status, failure } = await bench.call(
        'mutation',
        'createToken',
        { name: `t${'x'.repeat(90)}`, scope: 'read', expiresInHours: 1 },
        bench.adminToken,
      );
      if (status !== 200) failures.push({ status, code: failure?.code });
    }
    expect(failures[0]).toEqual({ status: 503, code: 'NO_SPACE' });
    const event = {
      id: randomUUID(),
      previousEventId: null,
      jobId,
      attempt: 1,
      eventNumber: 1,
      type: 'accepted',
      at: 0,
      error: null,
    };
    const report = agent.session({ events: [{ ...event, result: null }] });
    // Not acknowledged: the agent keeps it and sends it again.
    expect((await agent.call('report', report))?.result).toBeUndefined();
    expect((await admin.job.query({ jobId })).state).toBe('dispatched');
    expect(await health(bench)).toMatchObject({ status: 503, body: { error: { code: 'NO_SPACE' } } });
    expect((await bench.call('query', 'hosts', undefined, unused)).status).toBe(200);
    await disk.free();
    await until('the health to return', async () => ((await health(bench)).status === 200 ? true : undefined));
    expect((await agent.call('report', report))?.result?.data).toEqual({ acceptedIds: [event.id] });
    expect((await admin.job.query({ jobId })).state).toBe('accepted');
    const sqlite = new Database(bench.catalogFile, { readonly: true });
    expect(sqlite.pragma('integrity_check', { simple: true })).toBe('ok');
    sqlite.close();
  },
);
