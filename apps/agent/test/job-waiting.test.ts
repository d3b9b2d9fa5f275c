import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { systemClock } from '@lastgood/host';
import { acceptCommand, type JobResult, type JobSpec, type RestoreRequest } from '@lastgood/protocol';
import { aStartCommand, temporaryFolder } from '@lastgood/testkit';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { Activity } from '../src/jobs/activity.ts';
import { JobRunner } from '../src/jobs/job-runner.ts';
import { targetsOf } from '../src/jobs/targets.ts';
import { eventsNow } from '../src/journal/event-factory.ts';
import { Journal } from '../src/journal/journal.ts';
import { Compensations } from '../src/steps/compensations.ts';

const TARGETS = ['m1', 'm2', 'm3', 'main'];
const target = {
  ...{ engine: 'postgres', repository: 'local', connection: { host: '127.0.0.1', user: 'lastgood' } },
  allow: { restore: ['new', 'swap'] },
};
const config = agentConfigSchema.parse({
  environment: 'test',
  host: 'here',
  dataDir: '/nowhere',
  control: { url: 'http://127.0.0.1:7400' },
  repositories: { local: { type: 'folder', path: '/nowhere/backups' } },
  targets: Object.fromEntries(TARGETS.map((name) => [name, target])),
});
const request: RestoreRequest = {
  scope: { kind: 'database', database: 'shop' },
  point: { kind: 'latest' },
  into: { way: 'swap' },
  options: {},
};
const verify = (name: string): JobSpec => ({ command: 'verify', target: name, backupId: randomUUID(), level: 6 });
const plan = (name: string): JobSpec => ({ command: 'plan', target: name, request });
const restore = (name: string): JobSpec => ({ command: 'restore', target: name, request, planHash: 'f'.repeat(64) });
const undo = (name: string): JobSpec => ({ command: 'undo', target: name, restoreJobId: randomUUID() });

let cleanup: AsyncDisposableStack;
let journal: Journal;
let runner: JobRunner;
/** The jobs that have begun, as `command target`, and what ends each of them. */
let begun: Map<string, () => void>;
let logged: string[];

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await temporaryFolder());
  journal = cleanup.use(await Journal.open(join(folder.path, 'journal.sqlite'), 0));
  const targets = targetsOf(config, journal);
  begun = new Map();
  logged = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void logged.push(JSON.parse(line).msg) });
  runner = new JobRunner({
    ...{ journal, clock: systemClock, log, workDir: join(folder.path, 'jobs'), targets: () => targets },
    grants: { requestGrant: async () => ({ granted: true, ttlMs: 60_000, reason: '' }) },
    activity: new Activity(systemClock),
    compensations: new Compensations({ journal, clock: systemClock, log }),
    controlNow: () => null,
    jumpedMs: () => 0,
    execute: async (spec) => {
      const end = Promise.withResolvers<void>();
      begun.set(`${spec.command} ${spec.target}`, end.resolve);
      await end.promise;
      return { command: 'release', backupId: randomUUID(), wasHeld: false } satisfies JobResult;
    },
  });
  for (const name of TARGETS) runner.targetReady(name);
  journal.update((ledger) => ({ ...ledger, reconciled: true }));
});
afterEach(async () => {
  for (const end of begun.values()) end();
  await expect.poll(() => runner.runningKeys.size).toBe(0);
  await runner.stop();
  await cleanup.disposeAsync();
});

/** Accepts a job; resolves with its id. */
function accept(spec: JobSpec): string {
  const jobId = randomUUID();
  const command = aStartCommand(jobId, { spec, seq: journal.ledger.lastSeq + 1 });
  journal.update((ledger) => acceptCommand(ledger, command, eventsNow(systemClock), () => null).ledger);
  return jobId;
}
const started = (...names: string[]): Promise<void> =>
  expect.poll(() => [...begun.keys()].toSorted()).toEqual(names.toSorted());

test('db-D7: plan, restore and undo start while two restore tests of other targets run and a third waits', async () => {
  const [one, two] = [accept(verify('m1')), accept(verify('m2'))];
  await started('verify m1', 'verify m2');
  accept(verify('m3'));
  await expect.poll(() => logged).toContain(`job waits for verify of m1 (job ${one}), verify of m2 (job ${two})`);
  accept(plan('main'));
  await started('verify m1', 'verify m2', 'plan main');
  begun.get('plan main')?.();
  accept(restore('main'));
  await started('verify m1', 'verify m2', 'plan main', 'restore main');
  begun.get('restore main')?.();
  accept(undo('main'));
  await started('verify m1', 'verify m2', 'plan main', 'restore main', 'undo main');
  begun.get('verify m1')?.();
  await expect.poll(() => begun.has('verify m3')).toBe(true);
});

test('db-D7: a restore waits for the job of its own target, and the log names that job', async () => {
  const running = accept(verify('main'));
  await started('verify main');
  accept(restore('main'));
  await expect.poll(() => logged).toContain(`job waits for verify of main (job ${running})`);
  await started('verify main');
  begun.get('verify main')?.();
  await started('verify main', 'restore main');
});

test('db-D7: a queued verification that a restore waits for does not wait for other targets', async () => {
  accept(verify('m1'));
  accept(verify('m2'));
  await started('verify m1', 'verify m2');
  accept(verify('main'));
  accept(plan('main'));
  await started('verify m1', 'verify m2', 'verify main');
  begun.get('verify main')?.();
  await started('verify m1', 'verify m2', 'verify main', 'plan main');
});
