import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Repository } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import { type TemporaryFolder, temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pruneLogs } from '../src/jobs/prune-logs.ts';

const ref = { environment: 'test', host: 'db-1', target: 'shop' };
const DAY_MS = 86_400_000;
let folder: TemporaryFolder;
let repository: Repository;

beforeEach(async () => {
  folder = await temporaryFolder();
  const understood = [{ engine: 'any', method: 'whole', roles: ['archive'] }];
  repository = await createFolderRepository({ understood, path: join(folder.path, 'repository') });
});
afterEach(() => folder[Symbol.asyncDispose]());

/** Publishes a backup that needs the log from a segment on. */
async function addBackup(from: string): Promise<string> {
  const at = new Date().toISOString();
  const about = {
    ref,
    backupId: uuidv7(),
    jobId: uuidv7(),
    attempt: 1,
    engine: 'any',
    startedAt: at,
    lastgoodVersion: '1',
  };
  const writer = await repository.begin(about, 'system');
  await writer.add({ role: 'archive', contents: null, extension: 'tar' }, (to) => pipeline(Readable.from(['x']), to));
  const facts = {
    method: 'whole',
    recoveryPoint: at,
    contents: [],
    dependsOn: [],
    logRange: { stream: 'log', from, to: from },
    tool: { name: 'tool', version: '1' },
    server: { version: '1', systemId: 'system' },
    engineFacts: {},
    warnings: [],
  };
  return (await writer.publish(facts, at)).manifest.backupId;
}
const addSegments = async (...names: string[]): Promise<void> => {
  for (const name of names) await repository.log(ref, 'log').append(name, () => Readable.from([name]));
};
const segments = async (): Promise<readonly string[]> => await repository.log(ref, 'log').list();
const prune = async (): Promise<number> => await pruneLogs(repository, ref, (name) => name.endsWith('.history'));

test('I3: segments before the oldest backup are removed, except what the engine keeps', async () => {
  await addSegments('1', '1.history', '2', '3', '4');
  await addBackup('3');
  await addBackup('4');
  expect(await prune()).toBe(2);
  expect(await segments()).toEqual(['1.history', '3', '4']);
});

test('I3: a backup that was removed keeps its segments until it can no longer be brought back', async () => {
  await addSegments('1', '2', '3');
  const old = await addBackup('2');
  await addBackup('3');
  await repository.remove(ref, old, Date.now());
  expect(await prune()).toBe(1);
  expect(await segments()).toEqual(['2', '3']);
  await repository.purge(ref, Date.now() + 2 * DAY_MS, DAY_MS);
  expect(await prune()).toBe(1);
  expect(await segments()).toEqual(['3']);
});

test('a log that no backup names is kept whole', async () => {
  await addSegments('1', '2');
  expect(await prune()).toBe(0);
  expect(await segments()).toEqual(['1', '2']);
});
