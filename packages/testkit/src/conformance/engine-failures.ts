import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { describe, expect, test } from 'vitest';
import { codeOf, type EngineHarness, onFullDisk, ref } from './engine-harness.ts';

/** Overwrites the middle of a stored object while `work` runs. */
async function whileDamaged<T>(
  { folder }: EngineHarness,
  backupId: string,
  name: string,
  work: () => Promise<T>,
): Promise<T> {
  const { environment, host, target } = ref;
  const path = join(folder, 'repository', environment, host, target, 'backups', backupId, name);
  const file = await open(path, 'r+');
  try {
    const { size } = await file.stat();
    const bytes = randomBytes(Math.min(16, Math.ceil(size / 2)));
    const at = Math.floor(size / 2) - Math.floor(bytes.length / 2);
    const original = Buffer.alloc(bytes.length);
    await file.read(original, 0, bytes.length, at);
    await file.write(bytes, 0, bytes.length, at);
    try {
      return await work();
    } finally {
      await file.write(original, 0, original.length, at);
    }
  } finally {
    await file.close();
  }
}

function testInterruptions(harness: () => EngineHarness): void {
  describe('an interrupted job', () => {
    test('a backup that is canceled leaves nothing', async () => {
      const before = await harness().listed();
      const stop = new AbortController();
      const reason = new Failure('JOB_CANCELED', 'the job was canceled');
      const work = harness().backup({ signal: stop.signal, progress: () => stop.abort(reason) });
      expect(await codeOf(work)).toBe('JOB_CANCELED');
      expect(await harness().listed()).toEqual(before);
      expect(await harness().subject.leftovers()).toEqual([]);
    });

    test('a restore that is canceled before it has changed anything keeps the old data', async () => {
      const { subject } = harness();
      const { backupId } = (await harness().sharedBackup()).manifest;
      await subject.fill('present');
      const present = await subject.served();
      for (const { request } of subject.restores) {
        const stop = new AbortController();
        const reason = new Failure('JOB_CANCELED', 'the job was canceled');
        const context = await harness().context({ signal: stop.signal, progress: () => stop.abort(reason) });
        expect(await codeOf(harness().restore(request(backupId), uuidv7(), context))).toBe('JOB_CANCELED');
        expect(await subject.served()).toBe(present);
      }
      expect(await subject.leftovers()).toEqual([]);
    });

    test('a full disk of the repository fails the backup and leaves nothing', async () => {
      const before = await harness().listed();
      expect(await codeOf(harness().backup({}, harness().engine(), onFullDisk))).toBe('NO_SPACE');
      expect(await harness().listed()).toEqual(before);
      expect(await harness().subject.leftovers()).toEqual([]);
    });
  });
}

export function testEngineFailures(harness: () => EngineHarness): void {
  testInterruptions(harness);
  describe('what goes wrong', () => {
    test('damage of any object of a backup is found', async () => {
      const { backupId, objects } = (await harness().sharedBackup()).manifest;
      const { highest } = harness().subject;
      for (const { name } of objects) {
        const { reached, findings } = await whileDamaged(harness(), backupId, name, () =>
          harness().verify(highest, backupId),
        );
        expect(findings.length, name).toBeGreaterThan(0);
        expect(reached, name).toBeLessThan(highest);
      }
    });

    test('a wrong secret is refused, without the secret in the message', async () => {
      const engine = harness().engine(harness().subject.wrongSecret);
      expect(await codeOf(engine.identify(await harness().context()))).toBe('DATABASE_REFUSED');
      const probed = await engine.probe(await harness().context());
      expect(probed).toMatchObject({ state: 'refused', systemId: null });
      expect(probed.findings.map(({ code }) => code)).toEqual(['DATABASE_REFUSED']);
    });

    test('a server that is down is unreachable, and a backup fails', async () => {
      const { subject } = harness();
      await subject.stop();
      try {
        expect(
          await harness()
            .engine()
            .probe(await harness().context()),
        ).toMatchObject({ state: 'unreachable' });
        expect(await codeOf(harness().backup())).toBe('DATABASE_UNREACHABLE');
      } finally {
        await subject.start();
      }
      const engine = harness().engine();
      expect(await codeOf(engine.identify(await harness().context()))).toBe('succeeded');
    });
  });
}
