import type { JobSpec } from '@lastgood/protocol';
import { afterEach, expect, test } from 'vitest';
import { BACKUP_ID, OTHER_BACKUP_ID, type Served, serve } from './fake-control.ts';
import { run } from './lastgood.ts';

const cleanup: AsyncDisposable[] = [];
afterEach(async () => {
  for (const entry of cleanup.splice(0)) await entry[Symbol.asyncDispose]();
});
/** The newest backup is of 24 November, the one before it of 23 November 22:00 UTC. */
async function serveTwoDays(): Promise<Served> {
  const served = await serve(() => ({ state: 'failed', endedAt: 1 }), { recoveryPoint: '2026-11-24T22:00:00Z' });
  cleanup.push(served);
  return served;
}
/** The backup that a verification or a plan names. */
function backupOf(spec: JobSpec): string | undefined {
  if (spec.command === 'verify') return spec.backupId ?? undefined;
  return spec.command === 'plan' && spec.request.point.kind === 'backup' ? spec.request.point.backupId : undefined;
}
const restore = ['restore', 'shop', '--database', 'shop', '--to-new', 'x', '--at'];

test.for([
  ['2026-11-24T22:00:00Z', BACKUP_ID],
  ['2026-11-24T21:59:59Z', OTHER_BACKUP_ID],
  ['2026-11-24T18:59:59-03:00', OTHER_BACKUP_ID],
] as const)('verify and restore with --at %s take the newest backup at or before it', async ([at, backupId]) => {
  const served = await serveTwoDays();
  await run(served.url, 'verify', 'shop', '--at', at);
  await run(served.url, ...restore, at);
  expect(served.created.map(({ spec }) => backupOf(spec))).toEqual([backupId, backupId]);
});

test('--at before the first recovery point finds nothing and starts nothing', async () => {
  const served = await serveTwoDays();
  const ran = await run(served.url, ...restore, '2026-11-23T21:59:59Z');
  expect([ran.status, ran.stderr]).toEqual([2, expect.stringContaining('at or before 2026-11-23T21:59:59.000Z')]);
  expect(served.created).toEqual([]);
});

test('--at needs an offset, and excludes a backup id', async () => {
  const served = await serveTwoDays();
  const local = await run(served.url, ...restore, '2026-11-24T22:00:00');
  expect([local.status, local.stderr]).toEqual([64, expect.stringContaining('not an instant with an offset')]);
  const both = await run(served.url, 'verify', 'shop', 'latest', '--at', '2026-11-24T22:00:00Z');
  expect([both.status, both.stderr]).toEqual([64, expect.stringContaining('either a backup or --at')]);
  expect(served.created).toEqual([]);
});

test('backups list with --at leaves out newer recovery points', async () => {
  const served = await serveTwoDays();
  const list = async (...args: string[]): Promise<string[]> => {
    const { backups } = JSON.parse((await run(served.url, '--json', 'backups', 'list', ...args)).stdout);
    return backups.map(({ backupId }: { backupId: string }) => backupId);
  };
  expect(await list()).toEqual([BACKUP_ID, OTHER_BACKUP_ID]);
  expect(await list('--at', '2026-11-24T00:00:00Z')).toEqual([OTHER_BACKUP_ID]);
});

test('backups show prints what the backup contains', async () => {
  const served = await serveTwoDays();
  const ran = await run(served.url, 'backups', 'show', OTHER_BACKUP_ID.slice(-8));
  expect(ran.stdout).toMatch(
    /^backup 0b8f9999-.* of test\/db-1\/shop: good\n {2}recovery point {2}2026-11-23 22:00:00\+00:00\n/,
  );
  expect(ran.stdout).toMatch(/^shop +database +/m);
});
