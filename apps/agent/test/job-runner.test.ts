import { join } from 'node:path';
import { Failure, type Repository } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { acceptCommand } from '@lastgood/protocol';
import { aStartCommand, temporaryFolder } from '@lastgood/testkit';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { Activity } from '../src/jobs/activity.ts';
import { JobRunner } from '../src/jobs/job-runner.ts';
import { targetsOf } from '../src/jobs/targets.ts';
import { eventsNow } from '../src/journal/event-factory.ts';
import { Journal } from '../src/journal/journal.ts';
import { Compensations } from '../src/steps/compensations.ts';

const JOB = '01a20b1a-d025-7344-a564-47d7db15294a';
const config = agentConfigSchema.parse({
  environment: 'test',
  host: 'here',
  dataDir: '/nowhere',
  control: { url: 'http://127.0.0.1:7400' },
  repositories: { local: { type: 'folder', path: '/nowhere/backups' } },
  targets: { shop: { engine: 'postgres', repository: 'local', connection: { host: '127.0.0.1', user: 'lastgood' } } },
});

/** A runner with one accepted job that starts when its target is ready, and then waits for its repository until a test resolves it. */
async function runnerWithJob(folder: string) {
  const journal = await Journal.open(join(folder, 'journal.sqlite'), 0);
  const asked: PromiseWithResolvers<Repository>[] = [];
  const targets = targetsOf(config, journal);
  const shop = targets.get('shop');
  if (shop === undefined) throw new Error('no target');
  const repository = (): Promise<Repository> => {
    const gate = Promise.withResolvers<Repository>();
    asked.push(gate);
    return gate.promise;
  };
  targets.set('shop', { ...shop, repository });
  const runner = new JobRunner({
    journal,
    clock: systemClock,
    log: pino({ enabled: false }),
    workDir: join(folder, 'jobs'),
    targets: () => targets,
    grants: { requestGrant: () => Promise.reject(new Error('not connected')) },
    activity: new Activity(systemClock),
    compensations: new Compensations({ journal, clock: systemClock, log: pino({ enabled: false }) }),
    controlNow: () => null,
    jumpedMs: () => 0,
  });
  const command = aStartCommand(JOB, { spec: { command: 'verify', target: 'shop', backupId: JOB, level: 0 } });
  journal.update((ledger) => acceptCommand(ledger, command, eventsNow(systemClock), () => null).ledger);
  journal.update((ledger) => ({ ...ledger, reconciled: true }));
  return { runner, asked, journal };
}

test('I10: leftovers are swept only while no job of the target runs', async () => {
  await using folder = await temporaryFolder();
  const { runner, asked, journal } = await runnerWithJob(folder.path);
  using _journal = journal;
  runner.targetReady('shop');
  await expect.poll(() => asked.length).toBe(1);
  expect(runner.runningJobs).toEqual(new Set([JOB]));
  let swept = 0;
  const sweep = async (): Promise<void> => {
    swept += 1;
  };
  expect(await runner.whileIdle('shop', sweep)).toBe(false);
  expect(swept).toBe(0);
  asked[0]?.reject(new Failure('REPOSITORY_NOT_MOUNTED', 'the disk is away'));
  await expect.poll(() => runner.runningKeys.size).toBe(0);
  expect(await runner.whileIdle('shop', sweep)).toBe(true);
  expect(swept).toBe(1);
});

test('I10: no job of a target begins while its leftovers are swept', async () => {
  await using folder = await temporaryFolder();
  const { runner, asked, journal } = await runnerWithJob(folder.path);
  using _journal = journal;
  const sweeping = Promise.withResolvers<void>();
  const done = runner.whileIdle('shop', () => sweeping.promise);
  runner.targetReady('shop');
  expect(runner.runningKeys.size).toBe(0);
  sweeping.resolve();
  expect(await done).toBe(true);
  await expect.poll(() => asked.length).toBe(1);
  asked[0]?.reject(new Failure('REPOSITORY_NOT_MOUNTED', 'the disk is away'));
  await expect.poll(() => runner.runningKeys.size).toBe(0);
});
