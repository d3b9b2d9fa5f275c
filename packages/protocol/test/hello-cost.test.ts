import { type ControlJob, type JournalJob, receiveHello } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { backup, emptyControl, helloWith, jobId, jobOf, LEASE, NOW, withJob } from './ledgers.ts';

/** How often the jobs that a hello tells are looked at, beside a catalog that has this many. */
function looks(known: number): number {
  let count = 0;
  const sample = jobOf(withJob(emptyControl(), backup));
  const settled = (n: number): ControlJob => ({
    ...sample,
    jobId: jobId(n),
    state: 'succeeded',
    lastEventNumber: 3,
    dispatched: true,
  });
  const told = (n: number): JournalJob => {
    const line = {
      attempt: 1,
      eventNumber: 3,
      lastEventId: null,
      lastType: 'succeeded' as const,
      open: false,
      running: false,
    };
    return {
      ...{
        ...line,
        spec: backup,
        origin: { kind: 'command', by: 'test' },
        createdAt: NOW,
        startBy: NOW,
        deadlineMs: 1,
      },
      ...{ startedAt: null, endedAt: null, error: null, result: null },
      get jobId() {
        count += 1;
        return jobId(n);
      },
    };
  };
  const jobs = new Map(Array.from({ length: known }, (_, n) => [jobId(n), settled(n)] as const));
  const input = helloWith(Array.from({ length: 100 }, (_, n) => told(n)));
  receiveHello({ ...emptyControl(), jobs }, input, NOW, LEASE);
  return count;
}

test('a hello costs no more beside a catalog of ten times as many jobs', () => {
  expect(looks(2_000)).toBe(looks(200));
});
