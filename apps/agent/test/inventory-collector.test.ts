import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure, type Repository } from '@lastgood/core';
import { systemClock, uuidv7 } from '@lastgood/host';
import { temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { boundedInventory } from '../src/inventory/bounded-inventory.ts';
import { InventoryCollector } from '../src/inventory/collector.ts';
import { type Target, targetsOf } from '../src/jobs/targets.ts';
import { Journal } from '../src/journal/journal.ts';
import { enrollAs } from './support/enrolled.ts';

const target = (repository: string): object => ({
  engine: 'postgres',
  repository,
  connection: { host: '127.0.0.1', port: 1, user: 'nobody' },
});

/** InventoryCollector at `shop` and `old` in one repository and `crm` in another; the servers are away, the repositories are real. */
class LooksBench implements AsyncDisposable {
  readonly #cleanup: AsyncDisposableStack;
  readonly targets: Map<string, Target>;
  readonly collector: InventoryCollector;
  readonly stop: AbortController;
  generation = 0;

  constructor(cleanup: AsyncDisposableStack, targets: Map<string, Target>, dataDir: string) {
    this.#cleanup = cleanup;
    this.targets = targets;
    this.stop = new AbortController();
    this.collector = new InventoryCollector({
      dataDir,
      clock: systemClock,
      targets: () => this.targets,
      generation: (name) => (name === 'shop' ? this.generation : 0),
      remarks: () => [],
      signal: this.stop.signal,
      readMs: 2_000,
    });
  }

  static async open(): Promise<LooksBench> {
    await using cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    const journal = cleanup.use(await Journal.open(join(path, 'journal.sqlite'), 0));
    await enrollAs(path, { host: 'here' });
    const config = agentConfigSchema.parse({
      environment: 'test',
      host: 'here',
      dataDir: path,
      control: { url: 'http://127.0.0.1:7400' },
      repositories: {
        local: { type: 'folder', path: join(path, 'local') },
        other: { type: 'folder', path: join(path, 'other') },
      },
      targets: { shop: target('local'), old: target('local'), crm: target('other') },
    });
    return new LooksBench(cleanup.move(), targetsOf(config, journal), path);
  }

  target(name: string): Target {
    const found = this.targets.get(name);
    if (found === undefined) throw new TypeError(`no target ${name}`);
    return found;
  }
  /** Puts something else in the place of a target's repository. */
  replace(name: string, repository: () => Promise<Repository>): void {
    this.targets.set(name, { ...this.target(name), repository });
  }
  async backup(name: string): Promise<string> {
    const { ref, engine } = this.target(name);
    const at = new Date().toISOString();
    const backupId = uuidv7();
    const repository = await this.target(name).repository();
    const more = { jobId: uuidv7(), attempt: 1, engine: engine.name, startedAt: at, lastgoodVersion: '0' };
    const writer = await repository.begin({ ref, backupId, ...more }, '1');
    await writer.add({ role: 'dump', contents: 'shop', extension: 'dump' }, (sink) =>
      pipeline(Readable.from(['bytes']), sink),
    );
    const tool = { name: 'pg_dump', version: '15.1' };
    const server = { version: '15.1', systemId: '1' };
    const contents = [{ kind: 'database', name: 'shop', bytes: 5 }];
    const facts = { method: 'logical', recoveryPoint: at, contents, dependsOn: [], logRange: null, engineFacts: {} };
    await writer.publish({ ...facts, tool, server, warnings: [] }, at);
    return backupId;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    await this.collector.settled();
    await this.#cleanup.disposeAsync();
  }
}

test('a look tells what the repositories hold, and what rotations have removed from them', async () => {
  await using bench = await LooksBench.open();
  const [gone, kept] = [await bench.backup('shop'), await bench.backup('shop')];
  const { repository, ref } = bench.target('shop');
  await (await repository()).remove(ref, gone, Date.now());
  const told = boundedInventory(await bench.collector.collect());
  expect(told.backups.map(({ backupId }) => backupId)).toEqual([kept]);
  expect(told).toMatchObject({ removed: [gone], scanned: ['shop', 'old', 'crm'], complete: true });
});

test('a reading of a repository is not reported once a job of that target has ended', async () => {
  await using bench = await LooksBench.open();
  const [shop, crm] = [await bench.backup('shop'), await bench.backup('crm')];
  const facts = await bench.collector.collect();
  expect(boundedInventory(facts).backups.map(({ backupId }) => backupId)).toEqual([shop, crm]);
  bench.generation += 1;
  const late = boundedInventory(facts);
  expect(late.backups.map(({ backupId }) => backupId)).toEqual([crm]);
  expect(late.scanned).toEqual(['old', 'crm']);
  expect(late.targets.map(({ name }) => name)).toEqual(['shop', 'old', 'crm']);
  expect(boundedInventory(await bench.collector.collect()).scanned).toEqual(['shop', 'old', 'crm']);
});

test('a job that ends while its repository is read makes the look one of the past', async () => {
  await using bench = await LooksBench.open();
  const { repository } = bench.target('shop');
  bench.replace('shop', async () => {
    const real = await repository();
    bench.generation += 1;
    return real;
  });
  expect(boundedInventory(await bench.collector.collect()).scanned).toEqual(['old', 'crm']);
});

test('B4: a repository that cannot be read says nothing of its backups, and is a finding', async () => {
  await using bench = await LooksBench.open();
  await bench.backup('crm');
  bench.replace('shop', () => Promise.reject(new Failure('REPOSITORY_NOT_MOUNTED', 'the disk is away')));
  const told = boundedInventory(await bench.collector.collect());
  expect(told.scanned).toEqual(['old', 'crm']);
  expect(told.backups).toHaveLength(1);
  expect(told.targets[0]?.findings.at(-1)).toMatchObject({
    code: 'REPOSITORY_NOT_MOUNTED',
    params: { message: 'the disk is away' },
  });
});

test('B4: a repository that never answers is left behind; the collector at all others go out, and so does the agent', async () => {
  await using bench = await LooksBench.open();
  await bench.backup('crm');
  const asked: PromiseWithResolvers<Repository>[] = [];
  const dead = (): Promise<Repository> => {
    const gate = Promise.withResolvers<Repository>();
    asked.push(gate);
    return gate.promise;
  };
  bench.replace('shop', dead);
  bench.replace('old', dead);
  for (let round = 0; round < 3; round += 1) {
    const told = boundedInventory(await bench.collector.collect());
    expect(told.scanned).toEqual(['crm']);
    expect(told.backups).toHaveLength(1);
    for (const index of [0, 1])
      expect(told.targets[index]?.findings.at(-1)).toMatchObject({
        code: 'IO_ERROR',
        params: { message: 'the repository "local" does not answer' },
      });
  }
  // One call at a time waits for a dead disk: each of them holds a thread of the process.
  expect(asked).toHaveLength(1);
  const { repository } = bench.target('crm');
  asked[0]?.resolve(await repository());
  bench.replace('shop', repository);
  bench.replace('old', repository);
  await expect.poll(async () => (await bench.collector.collect()).scanned).toEqual(['shop', 'old', 'crm']);
});
