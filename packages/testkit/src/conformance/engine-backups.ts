import { Failure } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import type { RestoreInto } from '@lastgood/protocol';
import { describe, expect, test } from 'vitest';
import type { EngineHarness } from './engine-harness.ts';

const WAYS: readonly RestoreInto[] = [
  { way: 'new', name: 'copy' },
  { way: 'folder', folder: 'spare' },
  { way: 'swap' },
  { way: 'in-place' },
];

export function testEngineBackups(harness: () => EngineHarness): void {
  describe('backups and plans', () => {
    test('reports the server and what a backup contains', async () => {
      const { subject } = harness();
      await subject.fill('first');
      const identified = await harness()
        .engine()
        .identify(await harness().context());
      expect(identified.contents.toSorted()).toEqual(subject.contents.toSorted());
      const probed = await harness()
        .engine()
        .probe(await harness().context());
      expect(probed).toMatchObject({ state: 'ok', systemId: identified.systemId });
      expect(probed.version).toMatch(/^\d/);
    });

    test('a backup contains what it reports, and reaches the highest level', async () => {
      const { definition, subject } = harness();
      const { manifest, from, until } = await harness().sharedBackup();
      const roles = definition.methods.find((each) => each.name === subject.method)?.roles ?? [];
      expect(manifest.objects.filter(({ role }) => !roles.includes(role))).toEqual([]);
      expect(manifest.contents.map((content) => content.name).toSorted()).toEqual(subject.contents.toSorted());
      // Some servers count in whole seconds.
      expect(Date.parse(manifest.recoveryPoint)).toBeGreaterThanOrEqual(from - 1_000);
      expect(Date.parse(manifest.recoveryPoint)).toBeLessThanOrEqual(until);
      const { highest } = subject;
      expect(await harness().verify(highest, manifest.backupId)).toEqual({ reached: highest, findings: [] });
    });

    test('reports the way of a restore that it does not have', async () => {
      const { backupId } = (await harness().sharedBackup()).manifest;
      const known: readonly string[] = harness().definition.restoreWays.map((way) => way.name);
      // A target that cannot be restored refuses whatever is asked for.
      const [tried] = harness().subject.restores;
      if (tried !== undefined)
        for (const into of WAYS.filter(({ way }) => !known.includes(way))) {
          const planned = harness().plan({ ...tried.request(backupId), into });
          await expect(planned, into.way).rejects.toSatisfy(
            (error) => error instanceof Failure && error.code === 'BAD_INPUT',
          );
        }
    });

    test('refuses a plan that has changed, and changes nothing', async () => {
      const { backupId } = (await harness().sharedBackup()).manifest;
      await harness().subject.fill('present');
      const present = await harness().subject.served();
      for (const { request } of harness().subject.restores) {
        const order = { request: request(backupId), jobId: uuidv7(), planHash: 'f'.repeat(64) };
        const work = harness()
          .engine()
          .restore(order, harness().source(), await harness().context());
        await expect(work).rejects.toMatchObject({ code: 'PLAN_CHANGED' });
      }
      expect(await harness().subject.served()).toBe(present);
    });
  });
}
