import { aManifest, aStoredBackup } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { checkDependencies, dependentsOf, type StoredBackup } from '../src/index.ts';

const backup = (backupId: string, dependsOn: string[] = [], more: Partial<StoredBackup> = {}): StoredBackup =>
  aStoredBackup(aManifest({ shop: 1 }, { backupId, dependsOn }), more);
const missing = (backups: StoredBackup[]): Record<string, string> =>
  Object.fromEntries(
    checkDependencies(backups).flatMap(({ manifest, restorable }) =>
      restorable.ok ? [] : [[manifest.backupId, restorable.reason.params['backupId'] ?? restorable.reason.code]],
    ),
  );

test('a chain of backups is restorable when it is complete', () => {
  expect(missing([backup('base'), backup('one', ['base']), backup('two', ['base', 'one'])])).toEqual({});
});

test('a missing backup makes every backup that depends on it not restorable', () => {
  expect(missing([backup('one', ['base']), backup('two', ['one']), backup('other')])).toEqual({
    one: 'base',
    two: 'one',
  });
});

test('a backup that depends on a bad backup or one of a newer version is not restorable', () => {
  const failed = { verified: { level: 1, at: '2026-01-01T00:00:00Z', passed: false } };
  expect(missing([backup('base', [], failed), backup('one', ['base'])])).toEqual({ one: 'base' });
  const newer = {
    restorable: { ok: false as const, reason: { code: 'NEWER_FORMAT' as const, params: {} } },
  };
  expect(missing([backup('base', [], newer), backup('one', ['base'])])).toEqual({ base: 'NEWER_FORMAT', one: 'base' });
});

test('a dependency cycle in a forged manifest does not loop forever', () => {
  expect(missing([backup('a', ['b']), backup('b', ['a'])])).toEqual({});
});

test('lists the backups that directly depend on a backup', () => {
  const chain = [backup('base'), backup('one', ['base']), backup('two', ['one'])];
  expect(dependentsOf('base', chain)).toEqual(['one']);
  expect(dependentsOf('two', chain)).toEqual([]);
});
