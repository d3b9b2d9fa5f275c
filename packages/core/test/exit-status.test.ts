import { ERROR_CATALOG, EXIT_STATUS, type JobResult, makeRefusal, type RestorePlanSummary } from '@lastgood/protocol';
import { aBackupSummary } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { exitStatusOf } from '../src/index.ts';

const backup = (state: 'good' | 'suspect'): JobResult => ({
  command: 'backup',
  backup: { ...aBackupSummary(), state },
  durationMs: 1,
});
const verify = (passed: boolean): JobResult => ({
  command: 'verify',
  backupId: aBackupSummary().backupId,
  level: 1,
  reached: passed ? 1 : 0,
  passed,
  findings: [],
  remarks: [],
  durationMs: 1,
  at: '2026-11-23T22:00:00Z',
});
const plan = (...refusals: RestorePlanSummary['refusals']): JobResult =>
  ({ command: 'plan', plan: { refusals } }) as unknown as JobResult;
const undo: JobResult = { command: 'undo', into: 'shop', setAsideAs: 'x', durationMs: 1 };

test.for<[string, JobResult, number]>([
  ['a good backup', backup('good'), 0],
  ['a suspect backup', backup('suspect'), 4],
  ['a verification that passed', verify(true), 0],
  ['a verification that failed', verify(false), 4],
  ['a plan', plan(), 0],
  ['a plan that a host limit refuses', plan(makeRefusal('RESTORE_NOT_ALLOWED', null, { mode: 'swap' })), 3],
  ['a plan that cannot be carried out', plan(makeRefusal('SERVER_SPACE_LOW', null, { needed: 2, free: 1 })), 2],
  ['an undo', undo, 0],
])('%s ends with its exit status', ([, result, status]) => {
  expect(exitStatusOf(result)).toBe(status);
});

test('every error of the catalog ends with a status of the exit status table', () => {
  const known: number[] = Object.values(EXIT_STATUS).map(({ status }) => status);
  expect(Object.entries(ERROR_CATALOG).filter(([, { exit }]) => !known.includes(exit))).toEqual([]);
});
