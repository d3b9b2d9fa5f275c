import type { Command } from '@lastgood/protocol';
import { describe, expect, test } from 'vitest';
import { jobsAheadOf, type QueuedJob } from '../src/index.ts';

/** `verify main` as a job with that text as its id. */
function job(text: string): QueuedJob {
  const [command, target = ''] = text.split(' ');
  return { jobId: text, command: command as Command, target };
}
const aheadOf = (wanted: string, running: string[], queued: string[] = []): string[] =>
  jobsAheadOf(job(wanted), running.map(job), queued.map(job)).map(({ jobId }) => jobId);

const BUSY = ['backup m1', 'verify m2'];

test('a backup waits for two running jobs of other targets, and not for one', () => {
  expect(aheadOf('backup main', BUSY)).toEqual(BUSY);
  expect(aheadOf('backup main', ['backup m1'])).toEqual([]);
});

describe('db-D7', () => {
  test.for(['plan', 'restore', 'undo', 'hold', 'release'])(
    'db-D7: %s never waits for backups and restore tests of other targets',
    (command) => expect(aheadOf(`${command} main`, BUSY)).toEqual([]),
  );

  test('db-D7: urgent jobs at work do not delay a backup', () => {
    expect(aheadOf('backup main', ['restore m1', 'plan m2', 'verify m3'])).toEqual([]);
  });

  test('db-D7: a restore waits for the job of its own target', () => {
    expect(aheadOf('restore m1', BUSY)).toEqual(['backup m1']);
    expect(aheadOf('restore main', BUSY, ['backup main', 'restore main'])).toEqual(['backup main']);
  });

  test('db-D7: what a restore waits for does not wait for other targets either', () => {
    expect(aheadOf('backup main', BUSY, ['backup main', 'restore main'])).toEqual([]);
    expect(aheadOf('backup main', BUSY, ['backup main', 'restore other'])).toEqual(BUSY);
  });

  test('db-D7: jobs of one target keep their order', () => {
    expect(aheadOf('verify main', [], ['restore main', 'verify main'])).toEqual(['restore main']);
    expect(aheadOf('restore main', [], ['restore main', 'verify main'])).toEqual([]);
  });
});
