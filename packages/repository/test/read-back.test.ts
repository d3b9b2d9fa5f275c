import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { Failure, type Repository } from '@lastgood/core';
import { runTool, uuidv7 } from '@lastgood/host';
import type { Finding } from '@lastgood/protocol';
import { smallFileSystem, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createFolderRepository } from '../src/index.ts';
import { begin, dump, facts, failureOf, folderOf, never, partialOf, ref, understood } from './store.ts';

const MIB = 1024 * 1024;
const cleanup = new AsyncDisposableStack();
const small = cleanup.use(await smallFileSystem(16 * MIB));
let path: string;
let repository: Repository;

beforeAll(async () => {
  path = join(cleanup.use(await temporaryFolder()).path, 'repository');
  repository = await createFolderRepository({ understood, path });
});
afterAll(() => cleanup.disposeAsync());

const dataOf = (root: string, backupId: string): string => join(folderOf(root, backupId), 'data');
async function write(sink: Writable, data: Buffer): Promise<void> {
  if (!sink.write(data)) await once(sink, 'drain');
}

for (const [what, change] of [
  ['one flipped bit', (byte: number) => byte ^ 0x10],
  ['a lost byte of zeros', () => 0],
] as const)
  test(`A9: ${what} between the writer and the disk is found by the read-back, before the backup exists`, async () => {
    const backupId = uuidv7();
    const writer = await begin(repository, backupId);
    const partial = (): Promise<string> => partialOf(dataOf(path, backupId), '0001.dump.zst');
    const adding = writer.add(dump, async (sink) => {
      for (let round = 0; round < 4; round += 1) await write(sink, randomBytes(MIB));
      // The first bytes are on the disk: another hand changes one of them there.
      await vi.waitFor(async () => expect((await stat(await partial())).size).toBeGreaterThan(MIB), 10_000);
      await using file = await open(await partial(), 'r+');
      const at = 4096 + 17;
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
      const byte = buffer.readUInt8(0);
      await file.write(Buffer.from([change(byte) === byte ? byte ^ 1 : change(byte)]), 0, 1, at);
      await write(sink, randomBytes(MIB));
    });
    expect(await failureOf(adding)).toMatchObject({
      code: 'IO_ERROR',
      message: expect.stringContaining('read back'),
    });
    expect(existsSync(dataOf(path, backupId))).toBe(false);
    await writer.abandon();
    expect((await repository.list(ref)).backups).toEqual([]);
  });

test('a backup whose bytes may have been read back from memory says so, and a verification that may have read memory too', async () => {
  const take = async (): Promise<{ backupId: string; warnings: readonly Finding[] }> => {
    const backupId = uuidv7();
    const writer = await begin(repository, backupId);
    await writer.add(dump, (sink) => write(sink, randomBytes(MIB)));
    return { backupId, warnings: (await writer.publish(facts, '2026-01-01T00:00:01Z')).manifest.warnings };
  };
  const remarksOf = async (backupId: string): Promise<string[]> => {
    const remarks: string[] = [];
    const verified = repository.verify(
      ref,
      backupId,
      1,
      never,
      () => undefined,
      (remark) => remarks.push(remark),
    );
    expect(await verified).toEqual([]);
    return remarks;
  };
  const { backupId, warnings } = await take();
  expect([warnings, await remarksOf(backupId)]).toEqual([[], []]);
  vi.stubEnv('PATH', path);
  try {
    const reason = expect.stringContaining('dd is not installed');
    expect((await take()).warnings).toMatchObject([{ code: 'READ_BACK_FROM_MEMORY', params: { reason } }]);
    expect(await remarksOf(backupId)).toEqual([reason]);
  } finally {
    vi.unstubAllEnvs();
  }
});

test('J1: a read-back reports its progress, and ends with its job without leftovers', async () => {
  const stop = new AbortController();
  const backupId = uuidv7();
  const seen: number[] = [];
  const about = { jobId: uuidv7(), attempt: 1, engine: 'postgres', lastgoodVersion: '0.1.0' } as const;
  const writer = await repository.begin({ ref, backupId, startedAt: '2026-01-01T00:00:00Z', ...about }, 'sys', {
    signal: stop.signal,
    progress: ({ phase, doneBytes }) => {
      expect(phase).toBe('read-back');
      seen.push(doneBytes);
      stop.abort(new Failure('JOB_CANCELED', 'enough'));
    },
  });
  const adding = writer.add(dump, async (sink) => {
    for (let round = 0; round < 40; round += 1) await write(sink, randomBytes(MIB));
  });
  expect(await failureOf(adding)).toMatchObject({ code: 'JOB_CANCELED' });
  expect(seen.at(-1)).toBeLessThan(20 * MIB);
  await writer.abandon();
  expect(existsSync(folderOf(path, backupId))).toBe(false);
});

test('A2: a tool that fails while the store is still writing leaves nothing behind', async () => {
  const backupId = uuidv7();
  const writer = await begin(repository, backupId);
  const adding = writer.add(dump, async (sink) => {
    const script = 'head -c 8000000 /dev/urandom; exit 1';
    const call = { file: '/bin/sh', args: ['-c', script], signal: new AbortController().signal, timeoutMs: 60_000 };
    await runTool(call, sink);
  });
  expect(await failureOf(adding)).toMatchObject({ code: 'TOOL_FAILED' });
  expect(existsSync(dataOf(path, backupId))).toBe(false);
});

test.skipIf(small.path === null)(
  `A6, B17: a full disk fails the backup at any moment, keeps the older ones, and takes the next one when there is space${small.reason ?? ''}`,
  async () => {
    if (small.path === null) return;
    const root = join(small.path, 'repository');
    const store = await createFolderRepository({ understood, path: root });
    const take = async (): Promise<string> => {
      const backupId = uuidv7();
      const writer = await begin(store, backupId);
      try {
        await writer.add(dump, async (sink) => {
          for (let round = 0; round < 3; round += 1) await write(sink, randomBytes(MIB));
        });
        await writer.publish(facts, '2026-01-01T00:00:01Z');
      } catch (error) {
        await writer.abandon();
        throw error;
      }
      return backupId;
    };
    const kept = [await take()];
    for (const leave of [0, 4096, 8192, 16_384, 65_536, MIB, 2 * MIB, 3 * MIB]) {
      await small.fill(leave);
      expect(await failureOf(take())).toMatchObject({ code: 'NO_SPACE' });
      const { backups, broken } = await store.list(ref);
      expect([backups.map(({ manifest }) => manifest.backupId), broken]).toEqual([kept, []]);
      const [first = ''] = kept;
      expect(await store.verify(ref, first, 1, new AbortController().signal, () => undefined)).toEqual([]);
      await small.free();
    }
    kept.push(await take());
    expect((await store.list(ref)).backups.map(({ manifest }) => manifest.backupId)).toEqual(kept);
    expect(await readdir(join(root, 'test', 'db-1', 'shop', 'backups'))).toHaveLength(2);
  },
);
