import { chmod, chown, mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { runTool } from '@lastgood/host';
import { type PostgresServer, smallFileSystem, startPrimary, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { ArchivePickup, makeArchiveSpool, type PickupReport } from '../src/postgres/wal/archive-pickup.ts';
import { archiveCommand, archiveScript } from '../src/postgres/wal/archive-script.ts';
import { FolderSink } from './support/folder-sink.ts';

const MIB = 2 ** 20;
const never = new AbortController().signal;

/** The script with a spool of its own, called as PostgreSQL calls it. */
class Archive implements AsyncDisposable {
  readonly folder: string;
  readonly spool: string;
  readonly script: string;
  readonly sink: FolderSink;
  readonly #cleanup: AsyncDisposableStack;
  private constructor(folder: string, spool: string, cleanup: AsyncDisposableStack) {
    this.folder = folder;
    this.spool = spool;
    this.script = join(folder, "the script's 100%");
    this.sink = new FolderSink(join(folder, 'sink'));
    this.#cleanup = cleanup;
  }
  static async open(options: { limitBytes?: number; spool?: string; owner?: string } = {}): Promise<Archive> {
    const cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    await chmod(path, 0o755);
    const archive = new Archive(path, options.spool ?? join(path, "it's a spool"), cleanup);
    const { uid, gid } = await stat(options.owner ?? path);
    await makeArchiveSpool(archive.spool, (folder) => chown(folder, uid, gid));
    await mkdir(archive.sink.folder);
    await writeFile(
      archive.script,
      archiveScript({ spoolFolder: archive.spool, limitBytes: options.limitBytes ?? 100 * MIB }),
      { mode: 0o755 },
    );
    return archive;
  }
  async push(path: string, name: string): Promise<number> {
    const call = {
      file: this.script,
      args: [path, name],
      signal: never,
      timeoutMs: 20_000,
      acceptedExitCodes: [1, 2, 126],
    };
    return (await runTool(call)).exitCode;
  }
  /** Writes a file that stands for `%p`. */
  async wal(content: string): Promise<string> {
    const path = join(this.folder, 'pg_wal_file');
    await writeFile(path, content);
    return path;
  }
  async names(): Promise<string[]> {
    return (await readdir(this.spool)).filter((name) => name !== '.stored').toSorted();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}
const NAME = '000000010000000000000005';

describe('the script of archive_command', () => {
  test('copies a file into the spool under its name', async () => {
    await using archive = await Archive.open();
    expect(await archive.push(await archive.wal('one'), NAME)).toBe(0);
    expect(await archive.names()).toEqual([NAME]);
    expect(await readFile(join(archive.spool, NAME), 'utf8')).toBe('one');
    expect((await stat(join(archive.spool, NAME))).nlink).toBe(1);
  });
  test('G4: the same file again is a success', async () => {
    await using archive = await Archive.open();
    const path = await archive.wal('one');
    expect([await archive.push(path, NAME), await archive.push(path, NAME)]).toEqual([0, 0]);
  });
  test('G3: other bytes under a name that is there are refused, and nothing changes', async () => {
    await using archive = await Archive.open();
    expect(await archive.push(await archive.wal('one'), NAME)).toBe(0);
    expect(await archive.push(await archive.wal('two'), NAME)).toBe(1);
    expect(await readFile(join(archive.spool, NAME), 'utf8')).toBe('one');
  });
  test('a name that was stored and removed is known by its SHA-256', async () => {
    await using archive = await Archive.open();
    const history = '00000002.history';
    expect(await archive.push(await archive.wal('1\t0/5000000\tx\n'), history)).toBe(0);
    const pickup = new ArchivePickup(
      archive.spool,
      { systemId: '1', segmentBytes: MIB, majorVersion: 15 },
      archive.sink,
    );
    expect((await pickup.pass(never)).stored).toEqual([history]);
    expect(await archive.names()).toEqual([]);
    expect(await archive.push(await archive.wal('1\t0/5000000\tx\n'), history)).toBe(0);
    expect(await archive.push(await archive.wal('1\t0/6000000\tx\n'), history)).toBe(1);
    expect(await archive.names()).toEqual([]);
  });
  test('a full spool refuses, and takes the file when there is room again', async () => {
    await using archive = await Archive.open({ limitBytes: 64 * 1024 });
    const big = await archive.wal('x'.repeat(80 * 1024));
    expect(await archive.push(big, NAME)).toBe(0);
    expect(await archive.push(big, '000000010000000000000006')).toBe(1);
    expect(await archive.names()).toEqual([NAME]);
    await rm(join(archive.spool, NAME));
    expect(await archive.push(big, '000000010000000000000006')).toBe(0);
  });
  test.for(['', '.hidden', '../outside', 'a/b', 'a b', '$(id)'])('the name %j is refused', async (name, { expect }) => {
    await using archive = await Archive.open();
    expect(await archive.push(await archive.wal('one'), name)).toBe(1);
    expect(await archive.names()).toEqual([]);
  });
  test('a source that cannot be read, and a spool that is gone, are refused with 1', async () => {
    await using archive = await Archive.open();
    expect(await archive.push(join(archive.folder, 'absent'), NAME)).toBe(1);
    await rm(archive.spool, { recursive: true });
    expect(await archive.push(await archive.wal('one'), NAME)).toBe(1);
  });
  test('G5: what a killed try left is replaced', async () => {
    await using archive = await Archive.open();
    await writeFile(join(archive.spool, `.${NAME}.4711`), 'half');
    expect(await archive.push(await archive.wal('one'), NAME)).toBe(0);
    expect(await archive.names()).toEqual([NAME]);
  });
  test('L2: a disk that is full leaves nothing behind', async ({ skip }) => {
    await using disk = await smallFileSystem(2 * MIB);
    skip(disk.path === null, disk.reason ?? '');
    if (disk.path === null) return;
    await using archive = await Archive.open({ spool: join(disk.path, 'spool') });
    await disk.fill(MIB / 2);
    const path = await archive.wal('x'.repeat(MIB));
    expect(await archive.push(path, NAME)).toBe(1);
    expect(await archive.names()).toEqual([]);
    await disk.free();
    expect(await archive.push(path, NAME)).toBe(0);
  });
  test('the command quotes the path of the script for PostgreSQL and for the shell', () => {
    expect(archiveCommand("/opt/it's 100%/push.sh")).toBe(`'/opt/it'\\''s 100%%/push.sh' "%p" "%f"`);
  });
});

describe('the pickup', () => {
  const origin = { systemId: '1', segmentBytes: MIB, majorVersion: 15 };
  let archive: Archive;
  let pickup: ArchivePickup;
  beforeEach(async () => {
    archive = await Archive.open();
    pickup = new ArchivePickup(archive.spool, origin, archive.sink);
    return () => archive[Symbol.asyncDispose]();
  });
  const history = (timeline: number): string => `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`;

  test('G2: what is not WAL of this server stays in the spool and is reported', async () => {
    await writeFile(join(archive.spool, NAME), Buffer.alloc(MIB));
    await writeFile(join(archive.spool, history(2)), 'x');
    expect(await pickup.pass(never)).toMatchObject({
      stored: [history(2)],
      invalid: [{ name: NAME, problem: { code: 'wal-magic' } }],
    });
    expect(await archive.names()).toEqual([NAME]);
  });
  test('G3: a conflict with the repository stays in the spool, and the others go on', async () => {
    await writeFile(join(archive.sink.folder, history(2)), 'other');
    await writeFile(join(archive.spool, history(2)), 'mine');
    await writeFile(join(archive.spool, history(3)), 'x');
    expect(await pickup.pass(never)).toMatchObject({ stored: [history(3)], conflicts: [history(2)] });
    expect(await archive.names()).toEqual([history(2)]);
  });
  test('a failing repository keeps everything in the spool', async () => {
    await writeFile(join(archive.spool, history(2)), 'x');
    archive.sink.failWith = new Failure('NO_SPACE', 'full');
    await expect(pickup.pass(never)).rejects.toMatchObject({ code: 'NO_SPACE' });
    expect(await archive.names()).toEqual([history(2)]);
  });
  test('symbolic links are not followed', async () => {
    await symlink('/etc/passwd', join(archive.spool, history(2)));
    await expect(pickup.pass(never)).rejects.toMatchObject({ code: 'REPOSITORY_UNSAFE' });
    expect(await archive.sink.names()).toEqual([]);
  });
  test('temporary files of processes that are gone are removed, others are left', async () => {
    const gone = 4_194_300;
    for (const name of [
      `.${NAME}.${gone}`,
      `archtemp.${NAME}.${gone}.1764510000`,
      `.${NAME}.${process.pid}`,
      `archtemp.${NAME}.${process.pid}.1`,
      'notes.txt',
    ])
      await writeFile(join(archive.spool, name), 'x');
    expect((await pickup.pass(never)).swept.toSorted()).toEqual([
      `.${NAME}.${gone}`,
      `archtemp.${NAME}.${gone}.1764510000`,
    ]);
    expect(await archive.names()).toEqual(
      [`.${NAME}.${process.pid}`, `archtemp.${NAME}.${process.pid}.1`, 'notes.txt'].toSorted(),
    );
  });
  test('the newest 256 names are remembered', async () => {
    for (let timeline = 2; timeline < 262; timeline += 1) {
      const marker = join(archive.spool, '.stored', history(timeline));
      await writeFile(marker, 'x');
      await utimes(marker, timeline, timeline);
    }
    await writeFile(join(archive.spool, history(300)), 'x');
    await pickup.pass(never);
    const kept = await readdir(join(archive.spool, '.stored'));
    expect([kept.length, kept.includes(history(300)), kept.includes(history(6)), kept.includes(history(7))]).toEqual([
      256,
      true,
      false,
      true,
    ]);
  });
});

describe('with a server', () => {
  const cleanup = new AsyncDisposableStack();
  let server: PostgresServer;
  let archive: Archive;
  let systemId: string;
  let majorVersion: number;
  beforeAll(async () => {
    server = cleanup.use(
      await startPrimary({
        initdbArgs: ['--wal-segsize=1'],
        extraConf:
          'archive_mode = on\nwal_keep_size = 0\nmin_wal_size = 2MB\nmax_wal_size = 8MB\nsynchronous_commit = on',
      }),
    );
    archive = cleanup.use(await Archive.open({ limitBytes: 4 * MIB, owner: server.dataDir }));
    const [about] = await server.query(
      'postgres',
      "select system_identifier::text as id, current_setting('server_version_num')::int / 10000 as major from pg_control_system()",
    );
    systemId = String(about?.['id']);
    majorVersion = Number(about?.['major']);
    await server.query(
      'postgres',
      `alter system set archive_command = '${archiveCommand(archive.script).replaceAll("'", "''")}'`,
    );
    await server.query('postgres', 'select pg_reload_conf()');
    await server.query('postgres', 'create table t (i bigint, x text)');
  }, 120_000);
  afterAll(() => cleanup.disposeAsync());
  const write = async (mib: number): Promise<void> => {
    for (let each = 0; each < mib; each += 1)
      await server.query('postgres', "insert into t select i, repeat('x', 900) from generate_series(1, 1000) as i");
    await server.query('postgres', 'select pg_switch_wal()');
  };
  const statistics = async (): Promise<Record<string, unknown>> =>
    (
      await server.query(
        'postgres',
        "select failed_count::int as failed, last_archived_wal as last, (select count(*)::int from pg_ls_archive_statusdir() where name ~ 'ready$') as ready from pg_stat_archiver",
      )
    )[0] ?? {};
  const pass = async (): Promise<PickupReport> =>
    await new ArchivePickup(archive.spool, { systemId, segmentBytes: MIB, majorVersion }, archive.sink).pass(never);

  test('G5: while nobody takes the files the spool fills up, the server keeps its WAL, and everything is stored later', async () => {
    await write(9);
    await vi.waitFor(async () => expect((await statistics())['failed']).toBeGreaterThan(0), {
      timeout: 20_000,
      interval: 100,
    });
    const spooled = (await archive.names()).length;
    expect(spooled).toBeLessThanOrEqual(5);
    expect((await statistics())['ready']).toBeGreaterThan(2);
    await server.query('postgres', 'checkpoint');
    await vi.waitFor(
      async () => {
        await pass();
        // After three failures the archiver sleeps a minute: a reload wakes it.
        await server.query('postgres', 'select pg_reload_conf()');
        expect(await statistics()).toMatchObject({ ready: 0 });
      },
      { timeout: 30_000, interval: 200 },
    );
    await pass();
    const names = (await archive.sink.names()).filter((name) => name.length === 24);
    const numbers = names.map((name) => Number.parseInt(name.slice(16), 16));
    expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
    expect(names.length).toBeGreaterThan(8);
    expect(archive.sink.appended.reduce((sum, { content }) => sum + (content?.commits ?? 0), 0)).toBeGreaterThan(8);
  });

  test('basic_archive as the archiver: the pickup takes its files too', async ({ skip }) => {
    const [library] = await server.query('postgres', "select setting from pg_config where name = 'PKGLIBDIR'");
    const has = await stat(join(String(library?.['setting']), 'basic_archive.so')).then(
      () => true,
      () => false,
    );
    skip(!has || majorVersion < 15, 'this PostgreSQL has no basic_archive');
    await server.query('postgres', "load 'basic_archive'");
    await server
      .query('postgres', `alter system set basic_archive.archive_directory = '${archive.spool.replaceAll("'", "''")}'`)
      .catch(() => undefined);
    const { appendFile } = await import('node:fs/promises');
    await appendFile(
      join(server.dataDir, 'postgresql.conf'),
      `\narchive_library = 'basic_archive'\nbasic_archive.archive_directory = '${archive.spool.replaceAll("'", "''")}'\n`,
    );
    await server.query('postgres', "alter system set archive_command = ''");
    await server.query('postgres', 'select pg_reload_conf()');
    const before = (await archive.sink.names()).length;
    await write(2);
    await vi.waitFor(
      async () => {
        await pass();
        // An archiver that has failed three times sleeps a minute: a reload wakes it.
        await server.query('postgres', 'select pg_reload_conf()');
        expect((await archive.sink.names()).length).toBeGreaterThan(before + 1);
      },
      { timeout: 30_000, interval: 200 },
    );
  });
});
