import { createHash } from 'node:crypto';
import { access, chown, mkdir, open, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { captureTool } from '@lastgood/host';
import { type PostgresServer, startOnFolder, startPrimary, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { planRecovery } from '../src/postgres/point-in-time/plan.ts';
import type { RecoveredServer } from '../src/postgres/point-in-time/recovery.ts';
import type { RecoveryPlan, RecoveryTarget } from '../src/postgres/point-in-time/target.ts';
import { Session } from '../src/postgres/session.ts';
import type { Micros } from '../src/postgres/wal/instant.ts';
import { segmentName } from '../src/postgres/wal/segment-name.ts';
import { codeOf } from './support/engine-harness.ts';
import { ask, type Base, instantOf, PhysicalHarness } from './support/physical-harness.ts';

const never = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let harness: PhysicalHarness;
let base: Base;
let spaceFolder: string;
/** When each row was committed, to the microsecond, and the transaction of it. */
const committedAt = new Map<number, Micros>();
const xidOf = new Map<number, string>();
let lsnBefore5 = 0n;

const insert = async (row: number): Promise<void> => {
  await server.query('postgres', `insert into t values (${row})`);
};
beforeAll(async () => {
  const { path } = cleanup.use(await temporaryFolder());
  server = cleanup.use(
    await startPrimary({
      initdbArgs: ['--wal-segsize=1', '--data-checksums'],
      extraConf: 'synchronous_commit = on\nmax_connections = 50',
    }),
  );
  const { uid, gid } = await stat(server.dataDir);
  spaceFolder = join(path, 'space');
  await mkdir(spaceFolder);
  for (const folder of [path, spaceFolder]) await chown(folder, uid, gid);
  await server.query('postgres', `create tablespace space location '${spaceFolder}'`);
  await server.query(
    'postgres',
    'create table t (i int); create table apart (i int) tablespace space; insert into apart values (1)',
  );
  harness = cleanup.use(await PhysicalHarness.open(server));
  await harness.receive();
  for (const row of [1, 2]) await insert(row);
  // M6: what somebody planted in the configuration is in the backup.
  await server.query('postgres', `alter system set restore_command = 'touch ${join(path, 'planted')}'`);
  await server.query('postgres', `alter system set archive_command = 'touch ${join(path, 'planted')}'`);
  await server.query('postgres', "alter system set recovery_target_name = 'nowhere'");
  base = await harness.base();
  for (const row of [3, 4]) await insert(row);
  lsnBefore5 = await harness.lsn();
  for (const row of [5, 6]) await insert(row);
  await server.query('postgres', "select pg_create_restore_point('marked')");
  await using early = await Session.open(harness.connection, 'postgres', never);
  await early.run('begin; insert into public.t values (100)');
  await insert(7);
  await early.run('commit');
  await server.query('postgres', "select pg_create_restore_point('twice')");
  await insert(8);
  await server.query('postgres', "select pg_create_restore_point('twice')");
  await server.query('postgres', 'create table big as select i, md5(i::text) as x from generate_series(1, 40000) as i');
  await insert(9);
  await harness.archived();
  for (const row of await server.query(
    'postgres',
    `select i, xmin::text as xid, to_char(pg_xact_commit_timestamp(xmin) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US"Z"') as at from t`,
  )) {
    committedAt.set(Number(row['i']), instantOf(row['at']));
    xidOf.set(Number(row['i']), String(row['xid']));
  }
}, 120_000);
afterAll(() => cleanup.disposeAsync());

const at = (row: number): Micros => committedAt.get(row) ?? 0n;
const time = (instant: Micros): RecoveryTarget => ({ kind: 'time', at: instant });
const rowsOf = async (recovered: RecoveredServer): Promise<number[]> =>
  (await ask(recovered, 'postgres', 'select i from public.t order by i')).map(({ i }) => Number(i));
const recoverTo = async (target: RecoveryTarget, timeline: number | null = null): Promise<number[]> => {
  await using recovered = await harness.recover(await harness.plan(target, timeline));
  return await rowsOf(recovered);
};
/** Processes of PostgreSQL that run on a folder. */
const serversIn = async (folder: string): Promise<string> =>
  (await captureTool({ file: 'pgrep', args: ['-f', folder], signal: never, timeoutMs: 10_000, acceptedExitCodes: [1] }))
    .stdout;

describe('recovery targets', () => {
  test('the exact time of a commit includes it, and a microsecond before it does not', async () => {
    expect(await recoverTo(time(at(4)))).toEqual([1, 2, 3, 4]);
    expect(await recoverTo(time(at(4) - 1n))).toEqual([1, 2, 3]);
  });
  test('a position: what was written before it', async () => {
    expect(await recoverTo({ kind: 'lsn', lsn: lsnBefore5 })).toEqual([1, 2, 3, 4]);
  });
  test('a transaction that began early and was committed late comes with everything committed before it', async () => {
    const lsn = await commitOf(100);
    expect(await recoverTo({ kind: 'transaction', xid: xidOf.get(100) ?? '', lsn })).toEqual([
      1, 2, 3, 4, 5, 6, 7, 100,
    ]);
    expect(await recoverTo({ kind: 'transaction', xid: xidOf.get(7) ?? '', lsn: await commitOf(7) })).toEqual([
      1, 2, 3, 4, 5, 6, 7,
    ]);
  });
  test('a named point', async () => {
    expect(await recoverTo({ kind: 'name', name: 'marked' })).toEqual([1, 2, 3, 4, 5, 6]);
    expect(planRecovery({ kind: 'name', name: 'twice' }, null, await harness.source())).toMatchObject({
      code: 'ambiguous-name',
    });
  });
  test('the latest state stops at the end of the stored WAL and does not promote by itself', async () => {
    await using recovered = await harness.recover(await harness.plan({ kind: 'latest' }));
    expect(await rowsOf(recovered)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 100]);
    expect(await ask(recovered, 'postgres', 'select pg_is_in_recovery() as r')).toEqual([{ r: true }]);
  });
  test('a backup alone', async () => {
    expect(await recoverTo({ kind: 'backup', id: base.id })).toEqual([1, 2]);
  });
  test('progress is reported in positions and times', async () => {
    const seen: { replayedLsn: bigint }[] = [];
    await using recovered = await harness.recover(await harness.plan({ kind: 'latest' }), {
      onProgress: (progress) => seen.push(progress),
    });
    expect(seen.at(-1)?.replayedLsn).toBe(recovered.point.lsn);
    expect(recovered.point.lastXactAt).toBe(at(9));
  });

  const commitOf = async (row: number): Promise<bigint> => {
    const { SegmentReader } = await import('../src/postgres/wal/segment-reader.ts');
    for (const { content, path: _, name, number } of harness.sink.appended) {
      if (content === null || number === null) continue;
      const reader = new SegmentReader(BigInt(number) * 2n ** 20n, 8192, null, xidOf.get(row));
      reader.push(await readFile(join(harness.sink.folder, name)));
      const found = reader.content().wantedLsn;
      if (found !== null) return found;
    }
    throw new Error('not found');
  };
});

describe('a copy', () => {
  test('M6, E4: commands and targets that were planted in the backup do not run', async () => {
    await using recovered = await harness.recover(await harness.plan(time(at(4))));
    expect(await readFile(join(recovered.folder, 'data/postgresql.auto.conf'), 'utf8')).toContain('planted');
    await recovered.promote();
    await ask(recovered, 'postgres', 'select pg_switch_wal()');
    await ask(recovered, 'postgres', 'checkpoint');
    await expect(access(join(spaceFolder, '../planted'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('has its own tablespaces: the live ones are not linked', async () => {
    await using recovered = await harness.recover(await harness.plan(time(at(4))));
    const folder = join(recovered.folder, 'data');
    const [oid = ''] = await readdir(join(folder, 'pg_tblspc'));
    expect(await readlink(join(folder, 'pg_tblspc', oid))).toBe(join(recovered.folder, 'tablespaces', oid));
    expect(await readdir(folder)).not.toContain('tablespace_map');
    expect(await ask(recovered, 'postgres', 'select i from public.apart')).toEqual([{ i: 1 }]);
    await recovered.promote();
    await ask(recovered, 'postgres', 'insert into public.apart values (2)');
    await ask(recovered, 'postgres', 'checkpoint');
    expect(await server.query('postgres', 'select i from apart')).toEqual([{ i: 1 }]);
  });

  test('promoted, it is writable on a new timeline, and the stored WAL keeps its bytes', async () => {
    const hashes = async (): Promise<string[]> =>
      await Promise.all(
        (await harness.sink.names()).map(async (name) =>
          createHash('sha256')
            .update(await readFile(join(harness.sink.folder, name)))
            .digest('hex'),
        ),
      );
    const before = await hashes();
    await using recovered = await harness.recover(await harness.plan({ kind: 'latest' }));
    await recovered.promote();
    for (let round = 0; round < 12; round += 1) {
      await ask(recovered, 'postgres', 'insert into public.t values (200)');
      await ask(recovered, 'postgres', 'select pg_switch_wal()');
    }
    await ask(recovered, 'postgres', 'checkpoint');
    expect(
      await ask(
        recovered,
        'postgres',
        "select timeline_id::int as timeline, current_setting('archive_mode') as archiving from pg_control_checkpoint()",
      ),
    ).toEqual([{ timeline: 2, archiving: 'off' }]);
    expect(await hashes()).toEqual(before);
  });

  test('stopped in order, its folder starts as a server of its own', async () => {
    const recovered = await harness.recover(await harness.plan(time(at(4))), { isDurable: true });
    await recovered.promote();
    await recovered.stop();
    expect(await serversIn(recovered.folder)).toBe('');
    const args = ['-c', 'archive_mode=off', '-c', 'fsync=off'];
    await using own = await startOnFolder(server, join(recovered.folder, 'data'), args);
    expect(await own.query('postgres', 'select count(*)::int as n from t')).toEqual([{ n: 4 }]);
  });

  test('paused, it can be dumped', async ({ skip }) => {
    const tool = '/usr/lib/postgresql/15/bin/pg_dump';
    skip(harness.majorVersion !== 15, 'no pg_dump of this version');
    await using recovered = await harness.recover(await harness.plan(time(at(3))));
    const { host, port, user } = recovered.connection;
    const { stdout } = await captureTool({
      file: tool,
      args: ['-h', host, '-p', String(port), '-U', user, '-t', 't', '--data-only', 'postgres'],
      signal: never,
      timeoutMs: 60_000,
    });
    expect(/COPY public\.t \(i\) FROM stdin;\n1\n2\n3\n/.test(stdout)).toBe(true);
  });
});

describe('WAL that is not what it should be', () => {
  /** The plan to the end of the rows, with one of its segments replaced while the recovery runs. */
  const withDamage = async (
    damage: (path: string) => Promise<void>,
    options: { isUnnoticed?: boolean } = {},
  ): Promise<string> => {
    const plan = await harness.plan(time(at(9) - 1n));
    const { timeline, number } = plan.files[Math.floor(plan.files.length / 2)] ?? { timeline: 1, number: 0 };
    const name = segmentName(timeline, number, harness.segmentBytes);
    const path = join(harness.sink.folder, name);
    const original = await readFile(path);
    const file = harness.sink.appended.find((each) => each.name === name);
    try {
      await damage(path);
      if (options.isUnnoticed === true && file !== undefined)
        Object.assign(file, {
          sha256: createHash('sha256')
            .update(await readFile(path))
            .digest('hex'),
        });
      return await codeOf(harness.recover(plan).then((recovered) => recovered[Symbol.asyncDispose]()));
    } finally {
      await writeFile(path, original);
      if (file !== undefined) Object.assign(file, { sha256: createHash('sha256').update(original).digest('hex') });
    }
  };
  const flip = async (path: string): Promise<void> => {
    const file = await open(path, 'r+');
    await file.write(Buffer.from([0xff, 0xff, 0xff]), 0, 3, 500_000);
    await file.close();
  };

  test('G10: a missing segment ends the recovery', async () => {
    expect(await withDamage((path) => rm(path))).toBe('BACKUP_CORRUPT');
  });
  test('a flipped byte ends the recovery before PostgreSQL sees it', async () => {
    expect(await withDamage(flip)).toBe('BACKUP_CORRUPT');
  });
  test('damage that no hash knows of does not end as a success', async () => {
    expect(await withDamage(flip, { isUnnoticed: true })).toBe('RESTORE_FAILED');
  });
  test('a segment that was removed before the plan is a gap', async () => {
    const plan = await harness.plan(time(at(9) - 1n));
    const middle = plan.files[Math.floor(plan.files.length / 2)];
    const source = await harness.source();
    const ranges = source.holdings.ranges.flatMap((range) =>
      middle === undefined
        ? [range]
        : [
            { ...range, last: middle.number - 1 },
            { ...range, first: middle.number + 1 },
          ],
    );
    const decision = planRecovery(time(at(9) - 1n), null, { ...source, holdings: { ...source.holdings, ranges } });
    expect(decision).toMatchObject({ kind: 'refusal', code: 'in-gap' });
  });
  test('G10: WAL that never comes is a stall, and nothing is left running', async () => {
    const plan = await harness.plan(time(at(9) - 1n));
    const { fetch } = harness.segments;
    harness.segments.fetch = async (file, to, signal) => {
      if (file.number === plan.files.at(-1)?.number)
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      await fetch(file, to, signal);
    };
    try {
      expect(await codeOf(harness.recover(plan, { stallMs: 2_000 }))).toBe('RESTORE_FAILED');
    } finally {
      harness.segments.fetch = fetch;
    }
    expect(await serversIn(harness.lastFolder)).toBe('');
  });
});

describe('a recovery that cannot go on', () => {
  test('J1: a canceled recovery leaves no process', async () => {
    const stop = new AbortController();
    const plan = await harness.plan(time(at(9) - 1n));
    const { fetch } = harness.segments;
    harness.segments.fetch = async (file, to, signal) => {
      if (file.number === plan.files.at(-1)?.number) stop.abort(new Failure('JOB_CANCELED', 'enough'));
      signal.throwIfAborted();
      await fetch(file, to, signal);
    };
    try {
      expect(await codeOf(harness.recover(plan, { signal: stop.signal }))).toBe('JOB_CANCELED');
    } finally {
      harness.segments.fetch = fetch;
    }
    expect(await serversIn(harness.lastFolder)).toBe('');
  });
  test('settings lower than those of the source are a failure, not an early end', async () => {
    const plan = await harness.plan(time(at(9) - 1n));
    expect(await codeOf(harness.recover(plan, { settings: { ...base.settings, max_connections: 10 } }))).toBe(
      'RESTORE_FAILED',
    );
  });
  test('a stop other than the planned one is a failure', async () => {
    const plan: RecoveryPlan = { ...(await harness.plan(time(at(4)))), fromLsn: 2n ** 40n, endLsn: 2n ** 41n };
    expect(await codeOf(harness.recover(plan))).toBe('RESTORE_FAILED');
  });
});
