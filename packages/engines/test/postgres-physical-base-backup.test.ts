import { chown, mkdir, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import {
  type FolderServer,
  type PostgresServer,
  startOnFolder,
  startPrimary,
  startStandby,
  TcpFaultProxy,
  temporaryFolder,
} from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type PostgresConnection, postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { ArchiveChecker } from '../src/postgres/physical/archive-checker.ts';
import { parseBackupLabel } from '../src/postgres/physical/backup-label.ts';
import { compareFiles, parseBackupManifest } from '../src/postgres/physical/backup-manifest.ts';
import { baseBackupCommand } from '../src/postgres/physical/base-backup-command.ts';
import type { BackupEnd, BackupStart } from '../src/postgres/physical/base-backup-source.ts';
import { ReplicationBaseBackup } from '../src/postgres/physical/replication-base-backup.ts';
import { parseTablespaceMap } from '../src/postgres/physical/tablespace-map.ts';
import { codeOf } from './support/engine-harness.ts';

const cleanup = new AsyncDisposableStack();
const signal = new AbortController().signal;
let server: PostgresServer;
let connection: PostgresConnection;
let tablespaceFolder: string;

beforeAll(async () => {
  server = cleanup.use(await startPrimary({ initdbArgs: ['--data-checksums'] }));
  connection = postgresConnectionSchema.parse(server.connection);
  const { path } = cleanup.use(await temporaryFolder());
  tablespaceFolder = join(path, 'two words');
  await mkdir(tablespaceFolder);
  const { uid, gid } = await stat(server.dataDir);
  for (const folder of [path, tablespaceFolder]) await chown(folder, uid, gid);
  await server.query('postgres', `create tablespace space location '${tablespaceFolder}'`);
  await server.query('postgres', 'create table plain as select i, md5(i::text) from generate_series(1, 20000) as i');
  await server.query('postgres', 'create table apart tablespace space as select i from generate_series(1, 20000) as i');
  await server.query('postgres', 'create unlogged table gone as select i from generate_series(1, 20000) as i');
  await server.query('postgres', 'checkpoint');
}, 120_000);
afterAll(() => cleanup.disposeAsync());

interface Taken {
  readonly start: BackupStart;
  readonly end: BackupEnd;
  readonly checker: ArchiveChecker;
  readonly archives: readonly (string | null)[];
}
async function take(
  from: PostgresConnection,
  maxRateKb: number | null = null,
  onBytes: (bytes: number) => void = () => undefined,
): Promise<Taken> {
  const options = { label: "it's a test", checkpoint: 'fast', maxRateKb } as const;
  await using source = await ReplicationBaseBackup.open(from, options, signal, ({ doneBytes }) => onBytes(doneBytes));
  const start = await source.start();
  const checker = new ArchiveChecker(start.hasChecksums ? start : null);
  const archives: (string | null)[] = [];
  for await (const { tablespace, content } of source.archives()) {
    archives.push(tablespace.oid);
    for await (const chunk of checker.check(tablespace.oid, content)) void chunk;
  }
  return { start, end: await source.finish(), checker, archives };
}

describe('a base backup over the replication protocol', () => {
  test('streams every tablespace, and each file matches the manifest of the server', async () => {
    let reported = 0;
    const { start, end, checker, archives } = await take(connection, null, (bytes) => {
      reported = bytes;
    });
    const [oid] = await server.query('postgres', "select oid::text from pg_tablespace where spcname = 'space'");
    expect(archives).toEqual([oid?.['oid'], null]);
    expect(start.tablespaces[0]).toMatchObject({ location: tablespaceFolder });
    expect(start).toMatchObject({ timeline: 1, segmentBytes: 16 * 1024 * 1024, blockBytes: 8192, hasChecksums: true });
    expect(end.endLsn).toBeGreaterThan(start.startLsn);
    expect(reported).toBeGreaterThan(4 * 1024 * 1024);
    const manifest = parseBackupManifest(end.manifest);
    expect(compareFiles(manifest.files, checker.files)).toEqual([]);
    expect(checker.files.size).toBeGreaterThan(900);
    expect(manifest.walRanges).toEqual([{ timeline: 1, from: start.startLsn, to: end.endLsn }]);
  });

  test('the label names the start, and the map names the tablespaces', async () => {
    const { start, checker } = await take(connection);
    expect(parseBackupLabel(checker.text('backup_label') ?? '')).toMatchObject({
      startLsn: start.startLsn,
      timeline: 1,
      isFromStandby: false,
      label: "it's a test",
    });
    expect(parseTablespaceMap(checker.text('tablespace_map') ?? '')).toEqual([
      { oid: start.tablespaces[0]?.oid, location: tablespaceFolder },
    ]);
  });

  test('pages are checked on the way', async () => {
    const { checker } = await take(connection);
    expect(checker.damagedPages).toEqual([]);
    expect(checker.checkedPageCount).toBeGreaterThan(400);
  });

  test('unlogged tables come without their rows', async () => {
    const { checker } = await take(connection);
    const [row] = await server.query('postgres', "select pg_relation_filepath('gone') as path");
    expect(checker.files.has(String(row?.['path']))).toBe(false);
    expect(checker.files.has(`${row?.['path']}_init`)).toBe(true);
  });

  test('MAX_RATE limits the server', async () => {
    const started = performance.now();
    const { checker } = await take(connection, 20_000);
    const bytes = [...checker.files.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    expect(performance.now() - started).toBeGreaterThan((bytes / 1024 / 20_000) * 1000 * 0.6);
  });

  test('a cut connection is a failure and leaves nothing on the server', async () => {
    await using proxy = await TcpFaultProxy.open({ port: server.port });
    proxy.cutAfter({ direction: 'toClient', bytes: 9 * 1024 * 1024 });
    expect(await codeOf(take({ ...connection, port: proxy.port }))).toBe('DATABASE_UNREACHABLE');
    await vi.waitFor(async () => {
      expect(await server.query('postgres', "select from pg_stat_activity where backend_type = 'walsender'")).toEqual(
        [],
      );
    }, 10_000);
    expect(await server.query('postgres', 'select from pg_replication_slots')).toEqual([]);
  });

  test('an abort in the middle of an archive ends it', async () => {
    const stop = new AbortController();
    const options = { label: 'x', checkpoint: 'fast', maxRateKb: null } as const;
    await using source = await ReplicationBaseBackup.open(connection, options, stop.signal);
    await source.start();
    const reading = (async () => {
      for await (const { content } of source.archives())
        for await (const chunk of content) {
          void chunk;
          stop.abort(new Failure('JOB_CANCELED', 'enough'));
        }
      await source.finish();
    })();
    expect(await codeOf(reading)).toBe('JOB_CANCELED');
  });
});

describe('a standby as the source', () => {
  let standby: FolderServer;
  beforeAll(async () => {
    standby = cleanup.use(await startStandby(server));
  }, 120_000);

  test('gives a complete backup', async () => {
    const { end, checker } = await take({ ...connection, port: standby.port });
    expect(compareFiles(parseBackupManifest(end.manifest).files, checker.files)).toEqual([]);
    expect(parseBackupLabel(checker.text('backup_label') ?? '').isFromStandby).toBe(true);
  });

  test('a promotion during the backup fails it', async () => {
    const options = { label: 'x', checkpoint: 'fast', maxRateKb: null } as const;
    await using source = await ReplicationBaseBackup.open({ ...connection, port: standby.port }, options, signal);
    await source.start();
    await standby.query('postgres', 'select pg_promote()');
    const reading = (async () => {
      for await (const { content } of source.archives()) for await (const chunk of content) void chunk;
      await source.finish();
    })();
    expect(await codeOf(reading)).toBe('DATABASE_ERROR');
  });
});

test('A24: a damaged page of the source does not stop the backup: it is reported with its block', async () => {
  await using source = await startPrimary({ initdbArgs: ['--data-checksums'] });
  await source.query('postgres', 'create table hurt as select i, md5(i::text) from generate_series(1, 20000) as i');
  await source.query('postgres', 'checkpoint');
  const [row] = await source.query('postgres', "select pg_relation_filepath('hurt') as path");
  const path = String(row?.['path']);
  await source.stop();
  const file = await open(join(source.dataDir, path), 'r+');
  await file.write(Buffer.from([0xff, 0x00, 0xff]), 0, 3, 8192 * 7 + 5000);
  await file.close();
  await using again = await startOnFolder(source, source.dataDir);
  const { end, checker } = await take(postgresConnectionSchema.parse(again.connection));
  expect(end.sourceIsDamaged).toBe(true);
  expect(checker.damagedPages).toEqual([{ path, block: 7 }]);
  expect(compareFiles(parseBackupManifest(end.manifest).files, checker.files)).toEqual([]);
});

describe('the command of each version', () => {
  const options = { label: "o'clock", checkpoint: 'spread', maxRateKb: 1024 } as const;
  test.for([
    [
      180_004,
      "BASE_BACKUP (LABEL 'o''clock', CHECKPOINT 'spread', PROGRESS true, WAIT false, TABLESPACE_MAP true, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256', MAX_RATE 1024)",
    ],
    [
      150_000,
      "BASE_BACKUP (LABEL 'o''clock', CHECKPOINT 'spread', PROGRESS true, WAIT false, TABLESPACE_MAP true, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256', MAX_RATE 1024)",
    ],
    [
      149_999,
      "BASE_BACKUP LABEL 'o''clock' PROGRESS NOWAIT MAX_RATE 1024 TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'",
    ],
    [
      130_023,
      "BASE_BACKUP LABEL 'o''clock' PROGRESS NOWAIT MAX_RATE 1024 TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'",
    ],
  ] as const)('of %i', ([version, command], { expect }) => {
    expect(baseBackupCommand(options, version)).toBe(command);
  });
});
