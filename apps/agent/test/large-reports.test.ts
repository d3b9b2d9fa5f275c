import { randomUUID } from 'node:crypto';
import {
  acceptCommand,
  type EventFactory,
  finishJob,
  type JobSpec,
  jobKey,
  LIMITS,
  markRunning,
  sizeOf,
} from '@lastgood/protocol';
import { aStartCommand } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { InProcessFleet } from '../../../test/support/in-process-fleet.ts';
import { Journal } from '../src/journal/journal.ts';

const rotation: JobSpec = {
  command: 'rotate',
  target: 'shop',
  retention: { keepLast: 24, minimum: 1 },
  holds: [],
  dryRun: true,
};
const decisions = Array.from({ length: 300 }, () => ({
  backupId: randomUUID(),
  finishedAt: '2026-01-15T12:00:00.000Z',
  keep: true,
  reason: { code: 'KEEP_LAST', params: { count: 24, database: 'shop_of_prod' } },
}));
const result = { command: 'rotate', dryRun: true, decisions, keptCount: 300, removedCount: 0, freedBytes: 0 };

test('K5: unreported results that are together larger than a frame let the agent connect, and all of them arrive', async () => {
  await using both = await InProcessFleet.open();
  await both.startAgent();
  await both.announced();
  await both.stopAgent();
  // A night without a control plane: the journal fills with results that nobody has heard.
  const jobs = Array.from({ length: 12 }, () => randomUUID());
  const eventFactory: EventFactory = { now: Date.now(), eventId: randomUUID };
  {
    using journal = await Journal.open(both.journalFile, Date.now());
    for (const jobId of jobs) {
      const { ledger } = journal;
      const start = aStartCommand(jobId, { seq: ledger.lastSeq + 1, spec: rotation });
      const accepted = acceptCommand(ledger, start, eventFactory, () => null).ledger;
      const key = jobKey(jobId, 1);
      const ended = finishJob(
        markRunning(accepted, key, eventFactory),
        key,
        { type: 'succeeded', error: null, result },
        eventFactory,
      );
      journal.update(() => ({ ...ended, lastSeq: ledger.lastSeq }));
    }
    expect(sizeOf(journal.ledger.outbox)).toBeGreaterThan(2 * LIMITS.frameBytes);
  }
  await both.startAgent();
  for (const jobId of jobs)
    expect(await both.job(jobId, 'the result', (job) => job.result !== null)).toMatchObject({
      state: 'succeeded',
      result,
    });
  await both.until('the host to be online', async () =>
    (await both.admin.hosts.query({})).every((host) => host.state === 'online') ? true : undefined,
  );
});
