/** A target whose backups are copied into other repositories. */
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { noSteps, type Repository } from '@lastgood/core';
import { systemClock, uuidv7 } from '@lastgood/host';
import type { JobResult, JobSpec } from '@lastgood/protocol';
import { OPEN_LIMITS, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { agentConfigSchema, parseAgentConfig } from '../src/config/agent-config.ts';
import { InventoryCollector } from '../src/inventory/collector.ts';
import { execute } from '../src/jobs/execute.ts';
import { recoverySource } from '../src/jobs/recovery-source.ts';
import { type Target, targetsOf } from '../src/jobs/targets.ts';
import { Journal } from '../src/journal/journal.ts';
import { enrollAs } from './support/enrolled.ts';

const DAY = 86_400_000;

/** Changes one byte, and keeps the size. */
async function damageFile(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(5) ^ 1, 5);
  await writeFile(path, bytes);
}

class CopyBench implements AsyncDisposable {
  readonly #cleanup: AsyncDisposableStack;
  readonly folder: string;
  readonly target: Target;
  readonly repository: Repository;

  constructor(cleanup: AsyncDisposableStack, folder: string, target: Target, repository: Repository) {
    this.#cleanup = cleanup;
    this.folder = folder;
    this.target = target;
    this.repository = repository;
  }

  static async make(): Promise<CopyBench> {
    await using cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    await enrollAs(path);
    const journal = cleanup.use(await Journal.open(join(path, 'journal.sqlite'), 0));
    const repositories = Object.fromEntries(
      ['first', 'nas', 'offsite'].map((name) => [name, { type: 'folder', path: join(path, name), graceHours: 0 }]),
    );
    const connection = { host: '127.0.0.1', user: 'nobody' };
    const shop = { engine: 'postgres', repository: 'first', copies: ['nas', 'offsite'], connection };
    const config = agentConfigSchema.parse({
      environment: 'test',
      host: 'db-1',
      dataDir: path,
      control: { url: 'http://127.0.0.1:7400' },
      repositories,
      targets: { shop: { ...shop, allow: { rotate: true, ...OPEN_LIMITS } } },
    });
    const target = targetsOf(config, journal).get('shop');
    if (target === undefined) throw new TypeError('no target');
    return new CopyBench(cleanup.move(), path, target, await target.repository());
  }

  async add(daysAgo = 0): Promise<string> {
    const at = new Date(Date.now() - daysAgo * DAY).toISOString();
    const backupId = uuidv7();
    const { ref, engine } = this.target;
    const about = { jobId: uuidv7(), attempt: 1, engine: engine.name, startedAt: at, lastgoodVersion: '0' };
    const writer = await this.repository.begin({ ref, backupId, ...about }, '1');
    await writer.add({ role: 'dump', contents: 'shop', extension: 'dump' }, (sink) =>
      pipeline(Readable.from([Buffer.alloc(1000, backupId)]), sink),
    );
    const server = { version: '15.1', systemId: '1' };
    const contents = [{ kind: 'database', name: 'shop', bytes: 1000 }];
    const facts = { method: 'logical', recoveryPoint: at, contents, dependsOn: [], logRange: null, engineFacts: {} };
    await writer.publish({ ...facts, tool: { name: 'pg_dump', version: '15.1' }, server, warnings: [] }, at);
    return backupId;
  }

  async run<C extends Exclude<JobSpec['command'], 'check' | 'hook'>>(
    spec: Extract<JobSpec, { command: C }>,
  ): Promise<Extract<JobResult, { command: C }>> {
    const context = {
      workDir: this.folder,
      signal: new AbortController().signal,
      clock: systemClock,
      steps: noSteps,
      progress: () => undefined,
      log: () => undefined,
    };
    const execution = { target: this.target, jobId: uuidv7(), attempt: 1, createdBy: 'alice', context };
    const result = await execute(spec, { ...execution, controlNow: Date.now(), jumpedMs: 0 });
    return result as Extract<JobResult, { command: C }>;
  }

  async copy(repository: string | null = null): Promise<Extract<JobResult, { command: 'copy' }>> {
    return await this.run({ command: 'copy', target: 'shop', backupId: null, repository });
  }

  async idsIn(name: string): Promise<string[]> {
    const copy = this.target.copies.find((each) => each.name === name);
    const { backups } = await ((await copy?.open()) ?? this.repository).list(this.target.ref);
    return backups.map(({ manifest }) => manifest.backupId);
  }

  objectOf(repository: string, backupId: string): string {
    return join(this.folder, repository, 'test/db-1/shop/backups', backupId, 'data/0001.dump.zst');
  }

  async inventory() {
    const collector = new InventoryCollector({
      dataDir: this.folder,
      clock: systemClock,
      targets: () => new Map([['shop', this.target]]),
      generation: () => 0,
      remarks: () => [],
      signal: new AbortController().signal,
    });
    return await collector.collect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

test('copies every good backup into each other repository, once, and verifies it there', async () => {
  await using bench = await CopyBench.make();
  const ids = [await bench.add(1), await bench.add()];
  const { copies } = await bench.copy();
  expect(copies).toMatchObject([
    { repository: 'nas', copied: ids, presentCount: 0 },
    { repository: 'offsite', copied: ids, presentCount: 0 },
  ]);
  expect((await bench.copy('nas')).copies).toMatchObject([{ repository: 'nas', copied: [], presentCount: 2 }]);
  const { backups } = await bench.inventory();
  expect(backups).toMatchObject(
    ids.map((backupId) => ({
      backupId,
      repository: 'first',
      copies: ['nas', 'offsite'].map((repository) => ({ repository, state: 'good', verified: { level: 1 } })),
    })),
  );
});

test('L6: a repository that fails does not stop the copies into the others, and fails the job', async () => {
  await using bench = await CopyBench.make();
  const backupId = await bench.add();
  await bench.copy('nas');
  await rm(join(bench.folder, 'nas'), { recursive: true });
  await expect(bench.copy()).rejects.toMatchObject({ code: 'REPOSITORY_NOT_MOUNTED' });
  expect(await bench.idsIn('offsite')).toEqual([backupId]);
  const { targets } = await bench.inventory();
  expect(targets[0]?.findings).toContainEqual(
    expect.objectContaining({ code: 'COPY_REPOSITORY_UNREADABLE', severity: 'warning' }),
  );
});

test('a copy that is missing for more than a day is a finding', async () => {
  await using bench = await CopyBench.make();
  await bench.add(2);
  await bench.copy('nas');
  const findings = (await bench.inventory()).targets[0]?.findings ?? [];
  expect(findings.filter(({ code }) => code === 'COPIES_MISSING')).toMatchObject([
    { params: { repository: 'offsite', count: 1 } },
  ]);
});

test('L6: restores read the first repository that can be read, and in which the backup is not bad', async () => {
  await using bench = await CopyBench.make();
  const backupId = await bench.add();
  await bench.copy();
  const holder = async (): Promise<string | undefined> => (await recoverySource(bench.target, {})).holderOf(backupId);
  expect(await holder()).toBe('first');
  await damageFile(bench.objectOf('first', backupId));
  expect(await bench.run({ command: 'verify', target: 'shop', backupId, level: 1 })).toMatchObject({ passed: false });
  expect(await holder()).toBe('nas');
  expect((await bench.inventory()).backups).toMatchObject([{ repository: 'nas', state: 'good' }]);
  await rm(bench.objectOf('nas', backupId));
  expect(await holder()).toBe('offsite');
  await rename(join(bench.folder, 'first'), join(bench.folder, 'away'));
  const source = await recoverySource(bench.target, {});
  const artifact = await source.open(backupId);
  const [object] = artifact.manifest.objects;
  if (object === undefined) throw new TypeError('no object');
  let size = 0;
  for await (const chunk of artifact.open(object, new AbortController().signal)) size += (chunk as Buffer).length;
  expect(size).toBe(1000);
  // The first repository is away: what its copies hold is reported, and nothing is missing because of that.
  const { backups, scanned } = await bench.inventory();
  expect([backups.map(({ repository }) => repository), scanned]).toEqual([['offsite'], []]);
});

test('a damaged copy is found by verifying it there, and completed by the next copy', async () => {
  await using bench = await CopyBench.make();
  const backupId = await bench.add();
  await bench.copy();
  await damageFile(bench.objectOf('nas', backupId));
  const verifyCopy = { command: 'verify', target: 'shop', backupId, level: 1, repository: 'nas' } as const;
  expect(await bench.run(verifyCopy)).toMatchObject({ passed: false, repository: 'nas' });
  const { targets, backups } = await bench.inventory();
  expect(targets[0]?.findings).toContainEqual(expect.objectContaining({ code: 'COPY_BAD' }));
  expect(backups).toMatchObject([{ repository: 'first', copies: [{ state: 'bad' }, { state: 'good' }] }]);
  expect((await bench.copy()).copies).toMatchObject([{ copied: [backupId] }, { copied: [] }]);
  expect(await bench.run(verifyCopy)).toMatchObject({ passed: true });
});

test('rotation applies to each repository, and holds protect the copies as well', async () => {
  await using bench = await CopyBench.make();
  const ids = [await bench.add(30), await bench.add(20), await bench.add(10), await bench.add()];
  const [held = '', old = ''] = ids;
  await bench.copy();
  await bench.run({ command: 'hold', target: 'shop', backupId: held, reason: 'audit' });
  const rotated = await bench.run({
    command: 'rotate',
    target: 'shop',
    retention: { keepLast: 2, minimum: 1 },
    holds: [],
    dryRun: false,
  });
  expect(rotated.copies).toMatchObject([
    { repository: 'nas', removedCount: 1 },
    { repository: 'offsite', removedCount: 1 },
  ]);
  for (const name of ['first', 'nas', 'offsite'])
    expect(await bench.idsIn(name), name).toEqual(ids.filter((id) => id !== old));
  await bench.run({ command: 'release', target: 'shop', backupId: held });
  const copy = await bench.target.copies[0]?.open();
  expect((await copy?.read(bench.target.ref, held))?.held).toBeNull();
});

test('the agent file refuses copies into unknown, repeated and less protected repositories', () => {
  const file = (copies: string): string => `
control: { url: "http://127.0.0.1:7400" }
environment: prod
host: db-1
repositories:
  first: { type: folder, path: /backups }
  secret: { type: folder, path: /secret, encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p] } }
targets:
  shop: { engine: postgres, repository: first, copies: ${copies}, connection: { host: 127.0.0.1, user: a } }
`;
  expect(() => parseAgentConfig(file('[nowhere]'), 'agent.yaml')).toThrow(/no repository is named "nowhere"/);
  expect(() => parseAgentConfig(file('[first]'), 'agent.yaml')).toThrow(
    /"first" is a repository of this target already/,
  );
  expect(() => parseAgentConfig(file('[secret]'), 'agent.yaml')).toThrow(/"secret" is encrypted and "first" is not/);
});
