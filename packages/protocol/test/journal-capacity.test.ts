import { emptyAgentLedger, finishJob, jobKey, LIMITS, readCommand, sizeOf } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { makeCapacity } from '../src/delivery/journal-capacity.ts';
import { accept, backup, jobId, minting, NOW, restore, start } from './ledgers.ts';

const SMALL = { jobs: 8, bytes: 1024 * 1024 };
const done = { type: 'succeeded', error: null, result: { command: 'backup' } } as const;

/** A journal of `count` backups that have ended, each reported. */
function endedJobs(count: number) {
  let ledger = emptyAgentLedger;
  for (let n = 1; n <= count; n += 1) {
    ledger = accept(ledger, start(n, jobId(n), backup), minting(`e${n}-`));
    ledger = finishJob(ledger, jobKey(jobId(n), 1), done, { ...minting(`f${n}-`), now: NOW + n });
  }
  return { ...ledger, outbox: [] };
}
const idsOf = (ledger: { jobs: ReadonlyMap<string, { jobId: string }> } | null) =>
  [...(ledger?.jobs.values() ?? [])].map((job) => job.jobId);

test('attack-B7: a full journal forgets the jobs that ended first, and keeps what is open or unreported', () => {
  const ledger = endedJobs(8);
  expect(makeCapacity(ledger, 100, { ...SMALL, jobs: 9 })).toBe(ledger);
  expect(idsOf(makeCapacity(ledger, 100, SMALL))).toEqual([3, 4, 5, 6, 7, 8].map((n) => jobId(n)));
  const open = accept(ledger, start(9, jobId(9), backup), minting('open'));
  const unreported = [...open.outbox, { ...open.outbox[0], jobId: jobId(1) } as never];
  expect(idsOf(makeCapacity({ ...open, outbox: unreported }, 100, SMALL))).toEqual(
    [1, 5, 6, 7, 8, 9].map((n) => jobId(n)),
  );
});

test('attack-B7: rejected jobs, which have changed nothing, are forgotten before any that ran', () => {
  const rejected = { type: 'rejected', error: null, result: null } as const;
  const ledger = endedJobs(7);
  const more = accept(ledger, start(8, jobId(8), restore), minting('r'));
  const full = finishJob(more, jobKey(jobId(8), 1), rejected, { ...minting('s'), now: NOW + 99 });
  expect(idsOf(makeCapacity({ ...full, outbox: [] }, 100, SMALL))).not.toContain(jobId(8));
});

test('attack-B7: a journal full of unreported jobs accepts no more', () => {
  let ledger = emptyAgentLedger;
  for (let n = 1; n <= 8; n += 1) ledger = accept(ledger, start(n, jobId(n), backup), minting(`e${n}-`));
  expect(makeCapacity(ledger, 100, SMALL)).toBeNull();
  expect(makeCapacity(ledger, 100, { jobs: 9, bytes: sizeOf([...ledger.jobs.values()]) })).toBeNull();
});

test('attack-B7: of a job of a newer control plane only its command and target are kept', () => {
  const spec = { command: 'teleport', target: 'shop', payload: 'x'.repeat(200_000) };
  expect(readCommand({ ...start(1, jobId(1), backup), spec })?.command).toMatchObject({
    spec: { command: 'teleport', target: 'shop' },
  });
  const large = { ...backup, contents: Array.from({ length: 1_000 }, (_, n) => `${n}`.padEnd(60, 'x')) };
  expect(sizeOf(large)).toBeGreaterThan(LIMITS.specBytes);
  expect(readCommand(start(1, jobId(1), large as typeof backup))).toBeNull();
});
