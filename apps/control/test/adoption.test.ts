import { randomUUID } from 'node:crypto';
import type { BackupSummary, JournalJob } from '@lastgood/protocol';
import { aJournalJob } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { summary } from './support/backup-summary.ts';
import { ControlHarness } from './support/control-harness.ts';

/** Jobs of a journal whose events another catalog has confirmed, with these results. */
const ended = (results: readonly object[]): JournalJob[] =>
  results.map((result) => ({
    ...aJournalJob(randomUUID(), { eventNumber: 3, lastEventId: randomUUID(), lastType: 'succeeded', open: false }),
    result: result as JournalJob['result'],
  }));

for (const order of ['newest first', 'oldest first', 'as they began'] as const)
  test(`R17: of jobs that are reported ${order} after a restore of the catalog, the last report counts`, async () => {
    await using bench = await ControlHarness.start();
    const identity = await bench.enroll();
    await bench.close();
    await bench.open({ restored: true });
    const [removed, broken, mended] = [summary(randomUUID()), summary(randomUUID()), summary(randomUUID())];
    const taken = (one: BackupSummary) => ({ command: 'backup', backup: one, durationMs: 1 });
    const judged = (one: BackupSummary, passed: boolean, day: number, reached = 6) => ({
      ...{
        command: 'verify',
        backupId: one.backupId,
        level: 6,
        reached,
        passed,
        findings: [],
        remarks: [],
        durationMs: 1,
      },
      at: `2026-01-${day}T12:00:00.000Z`,
    });
    const decisions = [
      { backupId: removed.backupId, finishedAt: '', keep: false, reason: { code: 'OUTSIDE_RULES', params: {} } },
    ];
    const rotated = { command: 'rotate', dryRun: false, decisions, keptCount: 2, removedCount: 1, freedBytes: 1 };
    const results = [
      ...[taken(removed), taken(broken), taken(mended), judged(removed, true, 10), judged(mended, false, 11, 3)],
      ...[judged(broken, true, 12), judged(mended, true, 13), judged(broken, false, 14), rotated],
    ];
    const told = { 'newest first': results.toReversed(), 'oldest first': results, 'as they began': [] }[order];
    const began = [
      rotated,
      judged(broken, false, 14),
      taken(removed),
      judged(mended, true, 13),
      ...results.slice(1, 7),
    ];
    const jobs = ended(told.length === 0 ? began : told);
    await AgentSocket.connect(bench, identity, { incarnation: randomUUID(), lastSeq: 9, jobs });
    const backups = await bench.admin().backups.query({});
    expect(new Map(backups.map(({ backupId, state }) => [backupId, state]))).toEqual(
      new Map([
        [broken.backupId, 'bad'],
        [mended.backupId, 'good'],
      ]),
    );
  });
