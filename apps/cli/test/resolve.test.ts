import type { BackupView } from '@lastgood/protocol';
import { someDatabases } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import type { AdminClient } from '../src/client.ts';
import { oneBackup } from '../src/commands/resolve.ts';
import { BACKUP_ID, backup, OTHER_BACKUP_ID } from './fake-control.ts';

const clientOf = (backups: BackupView[]): AdminClient =>
  ({ backups: { query: async () => backups } }) as unknown as AdminClient;
const shop = { ...backup(BACKUP_ID, 1), contents: someDatabases('shop') };
const other = { ...backup(OTHER_BACKUP_ID, 2), contents: someDatabases('accounts') };

test('a restore of the latest asks which database is meant, where the good backups hold several', async () => {
  const both = clientOf([shop, other]);
  await expect(oneBackup(both, 'a/b/shop', 'latest', 'restore')).rejects.toMatchObject({
    code: 'BAD_INPUT',
    message: 'the backups of target a/b/shop hold 2 databases; name one with --database: accounts, shop',
  });
  expect((await oneBackup(both, 'a/b/shop', 'latest', 'restore', 'shop')).backup.backupId).toBe(BACKUP_ID);
  expect((await oneBackup(both, 'a/b/shop', 'latest', 'check')).backup.backupId).toBe(OTHER_BACKUP_ID);
  expect((await oneBackup(both, 'a/b/shop', BACKUP_ID, 'restore')).backup.backupId).toBe(BACKUP_ID);
  // The target is named after the database.
  const named = clientOf([{ ...shop, sequence: 3 }, other]);
  expect((await oneBackup(named, 'a/b/shop', 'latest', 'restore')).backup.backupId).toBe(BACKUP_ID);
  const reason = { code: 'NEWER_FORMAT' as const, params: { part: 'method', name: 'physical' } };
  for (const unusable of [{ state: 'bad' as const }, { restorable: { ok: false as const, reason } }]) {
    const bad = clientOf([shop, { ...other, ...unusable }]);
    expect((await oneBackup(bad, 'a/b/shop', 'latest', 'restore')).backup.backupId).toBe(BACKUP_ID);
  }
});
