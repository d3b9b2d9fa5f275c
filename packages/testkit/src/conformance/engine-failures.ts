import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { describe, expect, test } from 'vitest';
import { codeOf, type EngineHarness, onFullDisk, ref } from './engine-harness.ts';

/** Overwrites the middle of a stored object. */
async function damage({ folder }: EngineHarness, backupId: string, name: string): Promise<void> {
  const { environment, host, target } = ref;
  const path = join(folder, 'repository', environment, host, target, 'backups', backupId, name);
  const file = await open(path, 'r+');
  try {
    const { size } = await file.stat();
    const bytes = randomBytes(Math.min(16, Math.ceil(size / 2)));
    await file.write(bytes, 0, bytes.length, Math.floor(size / 2) - Math.floor(bytes.length / 2));
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
      const { backupId } = await harness().backup();
      await subject.fill('present');
      const present = await subject.served();
      for (const { request } of subject.restores) {
        const stop = new AbortController();
        const reason = new Failure('JOB_CANCELED', 'the job was canceled');
        const context = await harness().context({ signal: stop.signal, progress: () => stop.abort(reason) });
        expect(await codeOf(harness().restore(request(backupId), 'canceled', context))).toBe('JOB_CANCELED');
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
      await harness().subject.fill('good');
      const { objects } = await harness().backup();
      for (const { name } of objects) {
        const { backupId } = await harness().backup();
        await damage(harness(), backupId, name);
        const { reached, findings } = await harness().verify(harness().subject.highest, backupId);
        expect(findings.length, name).toBeGreaterThan(0);
        expect(reached, name).toBeLessThan(harness().subject.highest);
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
      const { backupId } = await harness().backup();
      expect(await harness().listed()).toContain(backupId);
    });
  });
}
