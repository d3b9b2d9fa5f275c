import type { JobResult, JobView } from '@lastgood/protocol';
import { afterEach, expect, test } from 'vitest';
import { OTHER_BACKUP_ID, SET_ASIDE, serve } from './fake-control.ts';
import { run } from './lastgood.ts';

const cleanup: AsyncDisposable[] = [];
afterEach(async () => {
  for (const entry of cleanup.splice(0)) await entry[Symbol.asyncDispose]();
});
const keep = <T extends AsyncDisposable>(entry: T): T => {
  cleanup.push(entry);
  return entry;
};
const done = (result: JobResult): Partial<JobView> => ({ state: 'succeeded', endedAt: 1, result });

test('hold and release take a backup by a unique part of its id', async () => {
  const hold = { reason: 'audit', by: 'alice', at: '2026-11-23T22:00:00Z' };
  const served = keep(
    await serve(({ spec }) =>
      done(
        spec.command === 'hold'
          ? { command: 'hold', backupId: OTHER_BACKUP_ID, hold }
          : { command: 'release', backupId: OTHER_BACKUP_ID, wasHeld: true },
      ),
    ),
  );
  const held = await run(served.url, 'hold', '0b8f9', '--reason', 'audit');
  expect([held.status, held.stdout]).toEqual([0, expect.stringContaining('is held (audit)')]);
  const pending = await run(served.url, 'hold', '0b8f9', '--detach');
  expect([pending.status, pending.stdout]).toEqual([
    0,
    expect.stringContaining('is pending until its host reports it'),
  ]);
  expect((await run(served.url, 'release', OTHER_BACKUP_ID)).status).toBe(0);
  expect((await run(served.url, 'hold', '0b8f')).status).toBe(64);
  expect(served.created.map(({ target, spec }) => [target, spec])).toEqual([
    ['test/db-1/shop', { command: 'hold', target: 'shop', backupId: OTHER_BACKUP_ID, reason: 'audit' }],
    ['test/db-1/shop', { command: 'hold', target: 'shop', backupId: OTHER_BACKUP_ID, reason: '' }],
    ['test/db-1/shop', { command: 'release', target: 'shop', backupId: OTHER_BACKUP_ID }],
  ]);
});

test('op-2.4: what is set aside is listed, and dropped with consent by its name alone', async () => {
  const served = keep(
    await serve(() => done({ command: 'drop-set-aside', name: SET_ASIDE, freedBytes: 1000, durationMs: 1 })),
  );
  expect((await run(served.url, 'set-aside', 'list')).stdout).toMatch(/shop__lastgood_old_0123456789ab +shop +1.00 kB/);
  const drop = (...args: string[]) => run(served.url, 'set-aside', 'drop', 'shop', ...args);
  expect((await drop(SET_ASIDE)).stderr).toContain('error NOT_CONFIRMED: This drops');
  expect((await drop(SET_ASIDE, '--confirm', 'shop')).status).toBe(3);
  expect((await drop('shop', '--confirm', 'shop')).status).toBe(2);
  expect(served.created).toEqual([]);
  const dropped = await drop(SET_ASIDE, '--confirm', SET_ASIDE);
  expect([dropped.status, dropped.stdout]).toEqual([0, expect.stringContaining('which freed 1.00 kB')]);
  expect(served.created[0]?.spec).toEqual({ command: 'drop-set-aside', target: 'shop', name: SET_ASIDE });
});
