import { existsSync, readdirSync } from 'node:fs';
import { mkdir, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Failure, Repository } from '@lastgood/core';
import { noSteps } from '@lastgood/core';
import { createPostgresEngine, postgresMethods } from '@lastgood/engines/postgres';
import { systemClock, uuidv7 } from '@lastgood/host';
import { formatReason, type JobResult, type JobSpec, LIMITS, type Retention, sizeOf } from '@lastgood/protocol';
import { createFolderRepository } from '@lastgood/repository';
import { OPEN_LIMITS, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { type Execution, execute } from '../src/jobs/execute.ts';
import { type Target, targetsOf } from '../src/jobs/targets.ts';
import { Journal } from '../src/journal/journal.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
type Allow = Partial<Target['config']['allow']>;

/** One target with a real repository of backups that were finished so many days ago, oldest first, and no server. */
class RotationBench implements AsyncDisposable {
  readonly #cleanup: AsyncDisposableStack;
  readonly repository: Repository;
  readonly target: Target;
  readonly folder: string;
  readonly ids: string[] = [];

  constructor(cleanup: AsyncDisposableStack, repository: Repository, target: Target, folder: string) {
    this.#cleanup = cleanup;
    this.repository = repository;
    this.target = target;
    this.folder = folder;
  }

  static async of(days: readonly number[], allow: Allow = {}, graceHours = 24): Promise<RotationBench> {
    await using cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    const folder = join(path, 'backups');
    const journal = cleanup.use(await Journal.open(join(path, 'journal.sqlite'), 0));
    const connection = { host: '127.0.0.1', user: 'nobody' };
    const config = agentConfigSchema.parse({
      environment: 'test',
      host: 'here',
      dataDir: path,
      control: { url: 'http://127.0.0.1:7400' },
      repositories: { local: { type: 'folder', path: folder, graceHours } },
      targets: {
        shop: {
          engine: 'postgres',
          repository: 'local',
          connection,
          allow: { rotate: true, ...OPEN_LIMITS, ...allow },
        },
      },
    });
    const target = targetsOf(config, journal).get('shop');
    if (target === undefined) throw new TypeError('no target');
    const repository = await createFolderRepository({ understood: postgresMethods, path: folder });
    const bench = new RotationBench(
      cleanup.move(),
      repository,
      { ...target, repository: async () => repository },
      folder,
    );
    for (const ago of days) await bench.add(ago);
    return bench;
  }

  async add(daysAgo: number, dependsOn: readonly string[] = []): Promise<void> {
    const at = new Date(Date.now() - daysAgo * DAY).toISOString();
    const backupId = uuidv7();
    const { ref, engine } = this.target;
    const more = { jobId: uuidv7(), attempt: 1, engine: engine.name, startedAt: at, lastgoodVersion: '0' };
    const writer = await this.repository.begin({ ref, backupId, ...more }, '1');
    await writer.add({ role: 'dump', contents: 'shop', extension: 'dump' }, (sink) =>
      pipeline(Readable.from([Buffer.alloc(1000, backupId)]), sink),
    );
    const version = { name: 'pg_dump', version: '15.1' };
    const server = { version: '15.1', systemId: '1' };
    const contents = [{ kind: 'database', name: 'shop', bytes: 1000 }];
    const facts = { method: 'logical', recoveryPoint: at, contents, dependsOn, logRange: null, engineFacts: {} };
    await writer.publish({ ...facts, tool: version, server, warnings: [] }, at);
    this.ids.push(backupId);
  }

  async run<C extends Exclude<JobSpec['command'], 'check' | 'hook'>>(
    spec: Extract<JobSpec, { command: C }>,
    more: Partial<Execution> & { now?: number } = {},
  ): Promise<Extract<JobResult, { command: C }>> {
    const { now = Date.now(), ...execution } = more;
    const context = {
      workDir: this.folder,
      signal: new AbortController().signal,
      clock: { ...systemClock, now: () => now },
      steps: noSteps,
      progress: () => undefined,
      log: () => undefined,
    };
    const given = {
      target: this.target,
      jobId: uuidv7(),
      attempt: 1,
      createdBy: 'alice',
      context,
      controlNow: now,
      jumpedMs: 0,
    };
    return (await execute(spec, { ...given, ...execution })) as Extract<JobResult, { command: C }>;
  }

  async rotate(
    retention: Partial<Retention>,
    {
      dryRun = false,
      holds = [],
      ...more
    }: Partial<Execution> & { now?: number; dryRun?: boolean; holds?: string[] } = {},
  ): Promise<Extract<JobResult, { command: 'rotate' }>> {
    return await this.run(
      { command: 'rotate', target: 'shop', retention: { minimum: 1, ...retention }, holds, dryRun },
      more,
    );
  }

  /** The positions of the backups that are there, in the order they were made. */
  async left(): Promise<number[]> {
    const { backups } = await this.repository.list(this.target.ref);
    return backups.map(({ manifest }) => this.ids.indexOf(manifest.backupId)).sort();
  }

  bytesOf(index: number): boolean {
    return existsSync(join(this.folder, 'test', 'here', 'shop', 'backups', this.ids[index] ?? '', 'data'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

test('a rotation removes what no rule keeps, and says how many', async () => {
  await using bench = await RotationBench.of([4, 3, 2, 1]);
  const result = await bench.rotate({ keepLast: 2 });
  expect([result.removedCount, result.keptCount, await bench.left()]).toEqual([2, 2, [2, 3]]);
});

test('a dry run says the same and changes nothing', async () => {
  await using bench = await RotationBench.of([4, 3, 2, 1]);
  const files = (): string[] => readdirSync(bench.folder, { recursive: true }).map(String).toSorted();
  await bench.rotate({ keepLast: 4 });
  const before = files();
  const result = await bench.rotate({ keepLast: 2 }, { dryRun: true });
  expect(result.decisions.map(({ keep, backupId }) => [bench.ids.indexOf(backupId), keep])).toEqual([
    [0, false],
    [1, false],
    [2, true],
    [3, true],
  ]);
  expect(files()).toEqual(before);
});

test('peer-F7: an object that cannot be deleted fails the rotation, and keeps no other backup from being removed', async () => {
  await using bench = await RotationBench.of([5, 4, 3]);
  const [first = ''] = bench.ids;
  await bench.rotate({ keepLast: 2 });
  const objects = readdirSync(bench.folder, { recursive: true, encoding: 'utf8' });
  const dump = join(bench.folder, objects.find((name) => name.includes(first) && name.includes('.dump')) ?? '');
  // A folder in the place of the file: no user can unlink it.
  await unlink(dump);
  await mkdir(join(dump, 'stubborn'), { recursive: true });
  const target = { ...bench.target, graceMs: 0 };
  for (const daysAgo of [2, 1]) {
    await bench.add(daysAgo);
    const rotation = bench.rotate({ keepLast: 2 }, { target });
    await expect(rotation).rejects.toMatchObject({ message: expect.stringContaining(dump) });
    const { backups } = await bench.repository.list(bench.target.ref);
    expect(backups.map(({ manifest }) => manifest.backupId)).toEqual(bench.ids.slice(-2));
  }
});

test('a broken backup stays, and its reason says what is wrong with it', async () => {
  await using bench = await RotationBench.of([4, 3, 2, 1]);
  const [lost = '', cut = ''] = bench.ids;
  const folderOf = (id: string): string => join(bench.folder, 'test', 'here', 'shop', 'backups', id);
  await unlink(join(folderOf(lost), 'manifest.json'));
  await truncate(join(folderOf(cut), 'data', '0001.dump.zst'), 3);
  const { decisions, keptCount } = await bench.rotate({ keepLast: 1 });
  const reasons = new Map(decisions.map(({ backupId, reason }) => [backupId, formatReason(reason)]));
  expect(reasons.get(lost)).toMatch(/^broken: MANIFEST_INVALID: its manifest is missing/);
  expect(reasons.get(cut)).toMatch(/^broken: BACKUP_CORRUPT: data.0001.dump.zst: /);
  expect([keptCount, existsSync(folderOf(lost)), existsSync(folderOf(cut))]).toEqual([3, true, true]);
});

test('of hundreds of backups each has its reason, and all of them fit into one event', async () => {
  await using bench = await RotationBench.of([1]);
  const { backups } = await bench.repository.list(bench.target.ref);
  const many = backups.flatMap((backup) =>
    Array.from({ length: 500 }, (_, sequence) => {
      const manifest = { ...backup.manifest, backupId: uuidv7(), sequence };
      return { ...backup, manifest };
    }),
  );
  const repository: Pick<Repository, 'list' | 'storeNow'> = {
    list: async () => ({ backups: many, broken: [] }),
    storeNow: () => bench.repository.storeNow(),
  };
  const target = { ...bench.target, repository: async () => repository as Repository };
  const result = await bench.rotate({ keepLast: 24 }, { dryRun: true, target });
  expect(new Set(result.decisions.map(({ backupId }) => backupId)).size).toBe(500);
  expect(sizeOf(result)).toBeLessThan(LIMITS.largeEventBytes);
});

test('D5: keeps what is held in the repository, and what a held backup depends on', async () => {
  await using bench = await RotationBench.of([5]);
  await bench.add(4, [bench.ids[0] ?? '']);
  for (const ago of [3, 2, 1]) await bench.add(ago);
  const { repository, target, ids } = bench;
  await repository.hold(target.ref, ids[1] ?? '', { reason: 'audit', by: 'alice', at: '2026-01-01T00:00:00Z' });
  const { decisions } = await bench.rotate({ keepLast: 1 });
  expect(await bench.left()).toEqual([0, 1, 4]);
  expect(decisions.find(({ backupId }) => backupId === ids[1])?.reason).toEqual({ code: 'HELD', params: {} });
});

test('D6: removes a whole chain in one rotation, what depends on a backup before it', async () => {
  await using bench = await RotationBench.of([5]);
  const [base = ''] = bench.ids;
  await bench.add(4, [base]);
  await bench.add(3, [base, bench.ids[1] ?? '']);
  await bench.add(1);
  expect(await bench.rotate({ keepLast: 1 })).toMatchObject({ removedCount: 3 });
  expect(await bench.left()).toEqual([3]);
});

test('D5: what the control plane holds stays', async () => {
  await using bench = await RotationBench.of([4, 3, 2, 1]);
  await bench.rotate({ keepLast: 1 }, { holds: [bench.ids[1] ?? ''] });
  expect(await bench.left()).toEqual([1, 3]);
});

test.for<[string, Parameters<RotationBench['rotate']>[1]]>([
  ['repository', { now: Date.now() + 40 * DAY, controlNow: null }],
  ['control', { controlNow: Date.now() - 40 * DAY }],
  ['jumped', { jumpedMs: 40 * DAY }],
])('D1: a clock that is wrong by another one removes and purges nothing: %s', async ([clock, given]) => {
  await using bench = await RotationBench.of([40, 3, 2, 1]);
  await bench.rotate({ keepLast: 3 });
  expect(bench.bytesOf(0)).toBe(true);
  await expect(bench.rotate({ keepLast: 1 }, given)).rejects.toMatchObject({
    code: 'CLOCK_UNTRUSTED',
    message: expect.stringContaining(clock),
  });
  expect(await bench.left()).toEqual([1, 2, 3]);
  expect(bench.bytesOf(0)).toBe(true);
  const told = await bench.rotate({ keepLast: 1 }, { ...given, dryRun: true });
  expect(told.decisions.every(({ keep, reason }) => keep && formatReason(reason).includes(clock))).toBe(true);
});

test('D9: the bytes of a removed backup stay for the grace of the repository, and go with a later rotation', async () => {
  await using bench = await RotationBench.of([4, 3, 2]);
  const { freedBytes } = await bench.rotate({ keepLast: 1 });
  expect([freedBytes, bench.bytesOf(0), bench.bytesOf(1)]).toEqual([0, true, true]);
  // The clock of the repository is that of the machine: as if the removal had been that long ago.
  expect(await bench.repository.purge(bench.target.ref, Date.now() + 23 * HOUR, bench.target.graceMs)).toBe(0);
  expect(await bench.repository.purge(bench.target.ref, Date.now() + 25 * HOUR, bench.target.graceMs)).toBeGreaterThan(
    0,
  );
  expect([bench.bytesOf(0), bench.bytesOf(1), bench.bytesOf(2)]).toEqual([false, false, true]);
});

test('without grace a rotation frees the bytes at once', async () => {
  await using bench = await RotationBench.of([4, 3], {}, 0);
  const { freedBytes } = await bench.rotate({ keepLast: 1 });
  expect(freedBytes).toBeGreaterThan(0);
  expect([bench.bytesOf(0), bench.bytesOf(1)]).toEqual([false, true]);
});

test.for<[string, Allow, number[]]>([
  ['a minimum number', { minimumKept: 3 }, [1, 2, 3]],
  ['what is young', { minimumAgeHours: 60 }, [2, 3]],
  ['no more than a number removed at once', { maxRemovedPerRun: 1 }, [1, 2, 3]],
])('I12: the file of the host keeps %s, whatever is asked for', async ([, allow, left]) => {
  await using bench = await RotationBench.of([4, 3, 2, 1], allow);
  await bench.rotate({ keepLast: 1 });
  expect(await bench.left()).toEqual(left);
});

test('E2: a shallow look takes back no failure that a deep one found, in the repository and for rotation', async () => {
  await using bench = await RotationBench.of([2, 1]);
  const backupId = bench.ids[1] ?? '';
  const { ref } = bench.target;
  await bench.repository.recordVerified(ref, backupId, { level: 5, at: new Date().toISOString(), passed: false });
  for (const level of [0, 1] as const) {
    const result = await bench.run({ command: 'verify', target: 'shop', backupId, level });
    expect([result.passed, result.reached]).toEqual([true, level]);
    expect((await bench.repository.read(ref, backupId)).verified).toMatchObject({ passed: false, level: 5 });
  }
  await bench.rotate({ keepLast: 1 });
  expect(await bench.left()).toContain(0);
});

test('what prevents a backup is reported with its own code and the remedy of its situation', async () => {
  await using bench = await RotationBench.of([]);
  const passfile = join(bench.folder, '..', 'pgpass');
  await writeFile(passfile, '', { mode: 0o644 });
  const spec = { command: 'backup', target: 'shop', method: null, contents: null, options: {} } as const;
  for (const [connection, code, remedy] of [
    [{ host: '127.0.0.1', port: 1, user: 'nobody' }, 'DATABASE_UNREACHABLE', 'Check that the server runs'],
    [{ host: '127.0.0.1', port: 1, user: 'nobody', passfile }, 'DATA_FOLDER_UNSAFE', 'chmod 600'],
  ] as const) {
    const target = { ...bench.target, engine: createPostgresEngine(connection) };
    const failed = await bench.run(spec, { target }).catch((error: Failure) => error);
    expect(failed).toMatchObject({ code, remedy: expect.stringContaining(remedy) });
    expect(failed).not.toMatchObject({ message: expect.stringContaining(`${code}:`) });
  }
  expect(await bench.left()).toEqual([]);
});
