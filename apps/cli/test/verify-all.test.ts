import type { BackupView, JobView } from '@lastgood/protocol';
import { afterEach, expect, test } from 'vitest';
import { BACKUP_ID, type Served, serve } from './fake-control.ts';
import { run } from './lastgood.ts';

const cleanup: AsyncDisposable[] = [];
afterEach(async () => {
  for (const entry of cleanup.splice(0)) await entry[Symbol.asyncDispose]();
});

const verified = (passed: boolean): Partial<JobView> => ({
  state: 'succeeded',
  endedAt: 1,
  result: {
    command: 'verify',
    backupId: BACKUP_ID,
    level: 2,
    reached: passed ? 2 : 1,
    passed,
    findings: [],
    remarks: [],
    durationMs: 1,
    at: '2026-11-24T00:00:00Z',
  },
});
const failed: Partial<JobView> = {
  state: 'failed',
  endedAt: 1,
  error: { code: 'NO_SPACE', message: 'the disk is full', remedy: 'Free space.' },
};
/** A newest backup that was taken an hour ago and has passed no level yet. */
const recent = (): Partial<BackupView> => ({
  recoveryPoint: new Date(Date.now() - 3_600_000).toISOString(),
  verified: null,
});
async function serveFleet(outcome: Partial<JobView>, newest: Partial<BackupView>): Promise<Served> {
  const served = await serve(() => outcome, { ...recent(), ...newest });
  cleanup.push(served);
  return served;
}

test.for<[string, Partial<JobView>, Partial<BackupView>, number, number, string]>([
  ['is verified and passes', verified(true), {}, 1, 0, 'passed level 2'],
  [
    'passed this level before',
    verified(true),
    { verified: { level: 4, at: '2026-11-24T00:00:00Z', passed: true } },
    0,
    0,
    'verified before',
  ],
  [
    'failed a verification before',
    verified(true),
    { verified: { level: 4, at: '2026-11-24T00:00:00Z', passed: false } },
    1,
    0,
    'passed level 2',
  ],
  ['fails the verification', verified(false), {}, 1, 4, 'verification FAILED'],
  ['cannot be verified', failed, {}, 1, 4, 'not verified: NO_SPACE: the disk is full'],
  [
    'is too old, and verified all the same',
    verified(true),
    { recoveryPoint: '2026-01-01T00:00:00Z' },
    1,
    4,
    'the newest backup is too old',
  ],
  ['is bad, and not read again', verified(true), { state: 'bad' }, 0, 4, 'the newest backup is bad'],
])('verify --all when the newest backup %s', async ([, outcome, newest, jobs, status, result]) => {
  const served = await serveFleet(outcome, newest);
  const ran = await run(served.url, 'verify', '--all', '--max-age', '24h', '--level', '2');
  expect([ran.status, served.created.length]).toEqual([status, jobs]);
  expect(ran.stdout).toContain('test/db-1/shop');
  expect(ran.stdout).toContain(result);
});

test('verify --all reports as JSON and as JUnit; an environment without targets ends with 4', async () => {
  const served = await serveFleet(verified(false), {});
  const json = await run(served.url, '--json', 'verify', '--all', '--level', '2');
  expect([json.status, JSON.parse(json.stdout)]).toMatchObject([
    4,
    { version: 1, targets: [{ target: 'shop', backupId: BACKUP_ID, findings: ['verification_failed'], error: null }] },
  ]);
  const junit = await run(served.url, 'verify', '--all', '--level', '2', '--junit');
  expect([junit.status, junit.stdout]).toEqual([4, expect.stringContaining('<failure message="verification FAILED">')]);
  expect((await run(served.url, 'verify', '--all', '--env', 'prod')).status).toBe(4);
});

test.for([
  [['verify']],
  [['verify', 'shop', '--all']],
  [['verify', 'shop', '--max-age', '24h']],
  [['verify', '--all', '--at', '2026-11-24T00:00:00Z']],
])('%j is refused: either a target or --all is named', async ([args]) => {
  const served = await serveFleet(verified(true), {});
  expect((await run(served.url, ...(args ?? []))).status).toBe(64);
  expect(served.created).toEqual([]);
});
