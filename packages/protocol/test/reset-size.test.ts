import { type ControlJob, type JobSpec, type JournalJob, LIMITS, receiveHello, sizeOf } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { emptyControl, helloWith, jobId, jobOf, LEASE, NOW, withJob } from './ledgers.ts';

/** What the answer to a hello has beside its jobs, and the frame around it, is smaller than this. */
const ENVELOPE = 2 * 1024;
const HELLO_BYTES = LIMITS.frameBytes - 32 * 1024;
/** The smallest there is, so that what a line has beside its spec counts most. */
const small: JobSpec = { command: 'undo', target: 's', restoreJobId: jobId(1) };
const large: JobSpec = {
  ...{ command: 'backup', target: 's', method: null, options: { digests: true } },
  contents: Array.from({ length: 400 }, (_, n) => String(n).padStart(60, 'x')),
};

const openLine = (id: string): JournalJob => ({
  ...{
    jobId: id,
    attempt: 1,
    eventNumber: 0,
    lastEventId: null,
    lastType: null,
    open: true,
    running: true,
    spec: small,
  },
  ...{ origin: { kind: 'command', by: 'test' }, createdAt: NOW, startBy: NOW, deadlineMs: 1 },
  ...{ startedAt: null, endedAt: null, error: null, result: null },
});
const known = (id: string, spec: JobSpec, more: Partial<ControlJob>): ControlJob => ({
  ...jobOf(withJob(emptyControl(), spec, id), id),
  ...{ dispatched: true, lastEventNumber: 3, lastEventId: jobId(7), state: 'accepted', startBy: NOW, deadlineMs: 1 },
  ...more,
});
const met = (jobs: Iterable<ControlJob>, told: JournalJob[]) => {
  const ledger = { ...emptyControl(), jobs: new Map([...jobs].map((job) => [job.jobId, job] as const)) };
  return receiveHello(ledger, helloWith(told), NOW, LEASE);
};

test('R13: all other histories that the largest hello tells fit into the answer, before any job that is only lost', () => {
  const told: JournalJob[] = [];
  for (let room = HELLO_BYTES; room > 512; room -= sizeOf(told.at(-1)) + 1) told.push(openLine(jobId(told.length)));
  const ended = told.map(({ jobId: id }) => known(id, small, { state: 'succeeded', endedAt: NOW }));
  const lost = Array.from({ length: 20 }, (_, n) => known(jobId(10_000 + n), large, {}));
  const { reset, more } = met([...lost, ...ended], told);
  expect(reset?.jobs.slice(0, told.length).map((job) => job.jobId)).toEqual(told.map((job) => job.jobId));
  expect(more).toBe(true);
  expect(sizeOf(reset)).toBeLessThan(LIMITS.frameBytes - ENVELOPE);
});

test('R13: a hello answers as many of the jobs that a host has lost as fit into a frame, and the next hello the others', () => {
  let lost = Array.from({ length: 40 }, (_, n) => known(jobId(n), large, {}));
  const heard: string[] = [];
  let hellos = 0;
  for (let more = true; more; hellos += 1) {
    const answer = met(lost, []);
    expect(sizeOf(answer.reset)).toBeLessThan(LIMITS.frameBytes - ENVELOPE);
    const ids = answer.reset?.jobs.map((job) => job.jobId) ?? [];
    heard.push(...ids);
    lost = lost.filter((job) => !ids.includes(job.jobId));
    more = answer.more;
  }
  expect([lost.length, heard.length, hellos]).toEqual([0, 40, 4]);
});
