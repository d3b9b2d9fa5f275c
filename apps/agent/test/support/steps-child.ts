/**
 * Runs two jobs of one target over a journal: the first freezes a process and, while it is frozen, writes a flag, then fails; the
 * second only looks. Prints what it sees and ends when nothing is left to do. LASTGOOD_FAULT kills it on the way.
 * `node steps-child.ts FOLDER PID`
 */
import { existsSync, readFileSync, writeSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { type AgentLedger, acceptCommand, openSteps, type StepParams } from '@lastgood/protocol';
import { aStartCommand } from '@lastgood/testkit';
import { pino } from 'pino';
import { Activity } from '../../src/jobs/activity.ts';
import { JobRunner } from '../../src/jobs/job-runner.ts';
import { recoverInterrupted, settleInterrupted } from '../../src/jobs/recover.ts';
import type { Target } from '../../src/jobs/targets.ts';
import { eventsNow } from '../../src/journal/event-factory.ts';
import { Journal } from '../../src/journal/journal.ts';
import { Compensations } from '../../src/steps/compensations.ts';
import { Compensator } from '../../src/steps/compensator.ts';

const [folder = '', pid = ''] = process.argv.slice(2);
const CHANGES = '00000000-0000-4000-8000-000000000001';
const LOOKS = '00000000-0000-4000-8000-000000000002';
const flag = join(folder, 'flag');
/** What the outside world looks like at this moment. */
const look = (when: string): void => {
  const frozen = readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[2] === 'T';
  writeSync(1, `${when} frozen=${frozen} flag=${existsSync(flag)}\n`);
};

const journal = await Journal.open(join(folder, 'journal.sqlite'), Date.now());
const log = pino({ enabled: false });
const clock = systemClock;
const targets = new Map([
  ['shop', { name: 'shop', config: { allow: { restore: [], rotate: false } } } as unknown as Target],
]);
const compensations = new Compensations({ journal, clock, log });
compensations.register('thaw', async (params: StepParams) => void process.kill(Number(params), 'SIGCONT'));
compensations.register('remove-flag', async (params: StepParams) => await rm(String(params), { force: true }));
if (journal.ledger.jobs.size === 0)
  for (const [index, jobId] of [CHANGES, LOOKS].entries())
    journal.update((ledger) => {
      const command = aStartCommand(jobId, { seq: index + 1 });
      return { ...acceptCommand(ledger, command, eventsNow(clock), () => null).ledger, reconciled: true };
    });

journal.subscribe((before: AgentLedger, after: AgentLedger) => {
  const event = after.outbox.at(-1);
  if (event === before.outbox.at(-1) || event === undefined) return;
  if (event.type === 'interrupted' || event.type === 'failed') look(event.type);
});
await recoverInterrupted(journal, targets, clock, log);
const runner: JobRunner = new JobRunner({
  ...{ journal, clock, log, compensations, workDir: join(folder, 'jobs'), targets: () => targets },
  ...{ activity: new Activity(clock), controlNow: () => null, jumpedMs: () => 0 },
  grants: { requestGrant: () => Promise.reject(new Error('not connected')) },
  execute: async (_spec, { jobId, context: { steps } }) => {
    if (jobId === CHANGES)
      await steps.during(
        { kind: 'freeze', params: pid, compensation: { kind: 'thaw', params: pid } },
        async () => void process.kill(Number(pid), 'SIGSTOP'),
        async () => {
          const compensation = { kind: 'remove-flag', params: flag };
          await steps.run({ kind: 'flag', params: flag, compensation }, () => writeFile(flag, ''));
          throw new Failure('TOOL_FAILED', 'the tool failed');
        },
      );
    look('second job');
    throw new Failure('TOOL_FAILED', 'it only looks');
  },
});
const compensator = new Compensator({
  ...{ journal, compensations, isRunning: (key: string) => runner.runningKeys.has(key) },
  settle: (job) => settleInterrupted(journal, targets, clock, log, job),
});
await compensator.firstTry('shop');
journal.update((ledger) => ({ ...ledger, reconciled: true }));
runner.targetReady('shop');
const isOver = (ledger: AgentLedger): boolean =>
  [...ledger.jobs.values()].every((job) => job.state === 'finished' && openSteps(job).length === 0);
while (!isOver(journal.ledger)) await new Promise((resolve) => setTimeout(resolve, 5));
look('end');
await compensator.stop();
await runner.stop();
journal[Symbol.dispose]();
