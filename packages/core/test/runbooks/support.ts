import { createHash } from 'node:crypto';
import type { BackupSummary, JobResult, RunbookPlan, RunbookRun, StepStatus } from '@lastgood/protocol';
import { type FleetFile, fleetFileSchema } from '../../src/fleet-file/index.ts';
import {
  type EndedJob,
  jobsOfRun,
  planRunbook,
  type RunbookHost,
  type RunbookRequest,
  type RunbookTarget,
  type RunStart,
  recordJob,
  startRun,
} from '../../src/runbooks/index.ts';

export const NOW = Date.parse('2027-01-01T12:00:00Z');
export const HOST = 'prod/db-1';
export const RUN_ID = '5d6a4f60-2f4e-4a41-8a35-7e0f0f6d9b10';
export const instant = (time: string): string => `2027-01-01T${time}:00.000Z`;

const idOf = (n: number): string => `01a20b1a-0000-7000-8000-${String(n).padStart(12, '0')}`;

/** A good backup of a target with one recovery point. */
export const backup = (n: number, time: string, more: Partial<BackupSummary> = {}): BackupSummary => ({
  backupId: idOf(n),
  target: 'shop',
  repository: 'local',
  copies: [],
  engine: 'e',
  method: 'm',
  sequence: n,
  jobId: idOf(n),
  startedAt: instant(time),
  recoveryPoint: instant(time),
  finishedAt: instant(time),
  contents: [{ kind: 'database', name: 'shop', bytes: 1 }],
  dependsOn: [],
  restoreUnit: 'database',
  restorable: { ok: true },
  producedBytes: 1,
  storedBytes: 1,
  manifestSha256: '0'.repeat(64),
  state: 'good',
  verified: { level: 5, at: instant(time), passed: true },
  hold: null,
  warnings: [],
  ...more,
});
export const target = (backups: readonly BackupSummary[], more: Partial<RunbookTarget> = {}): RunbookTarget => ({
  backups,
  reported: {},
  restoreMs: null,
  ...more,
});
const host: RunbookHost = { isOnline: true, checks: new Set(['ok', 'counts']), hooks: new Set(['rebuild', 'start']) };

export function request(steps: object, more: Partial<RunbookRequest> = {}, runbook: object = {}): RunbookRequest {
  const file: FleetFile = fleetFileSchema.parse({ runbooks: { r: { steps, ...runbook } } });
  const found = file.runbooks['r'];
  if (found === undefined) throw new TypeError('no runbook');
  return {
    name: 'r',
    runbook: found,
    revision: 1,
    contacts: {},
    mode: 'run',
    instantMs: null,
    alternatives: [],
    targets: new Map([
      [`${HOST}/a`, target([backup(1, '10:00'), backup(2, '11:00')])],
      [`${HOST}/b`, target([backup(3, '09:00'), backup(4, '11:30')])],
    ]),
    hosts: new Map([[HOST, host]]),
    digest: (text) => createHash('sha256').update(text).digest('hex'),
    ...more,
  };
}
export const planOf = (steps: object, more: Partial<RunbookRequest> = {}, runbook: object = {}): RunbookPlan =>
  planRunbook(request(steps, more, runbook));
export const begin = (plan: RunbookPlan, more: Partial<RunStart> = {}): RunbookRun =>
  startRun(plan, { runId: RUN_ID, by: 'alice', at: NOW, acceptedSkew: [], approved: [], ...more });

export const restore = (name: string, more: object = {}): object => ({
  restore: { target: `${HOST}/${name}`, into: 'swap' },
  ...more,
});
export const check = (name: string, more: object = {}): object => ({ check: { host: HOST, name }, ...more });
export const hook = (name: string, more: object = {}): object => ({ hook: { host: HOST, name }, ...more });

export const statusOf = (run: RunbookRun, step: string): StepStatus => {
  const found = run.steps.find(({ name }) => name === step);
  if (found === undefined) throw new TypeError(`no step ${step}`);
  return found.status;
};
/** The states of all steps, `a succeeded, b running`. */
export const statesOf = ({ steps }: RunbookRun): string =>
  steps.map(({ name, status }) => `${name} ${status.state}`).join(', ');
/** What runs, `restore of a`. */
export const jobsNow = (run: RunbookRun): string[] =>
  jobsOfRun(run).map(({ spec }) => `${spec.command} of ${spec.target}`);

const results: Partial<Record<string, object>> = {
  plan: { command: 'plan', plan: { hash: 'a'.repeat(64), refusals: [] } },
  restore: { command: 'restore', recoveryPoint: instant('11:00'), counts: [] },
  check: { command: 'check', passed: true, findings: [], details: [] },
  hook: { command: 'hook' },
  verify: { command: 'verify', passed: true, reached: 5, level: 5, findings: [] },
};

/** Ends the job of a step, successfully unless `more` says otherwise. */
export function end(run: RunbookRun, step: string, more: Partial<EndedJob> = {}): RunbookRun {
  const job = jobsOfRun(run).find((each) => each.step === step);
  if (job === undefined) throw new TypeError(`step ${step} has no job`);
  const { command } = job.spec;
  const result = (results[command] ?? null) as JobResult | null;
  const ended = { jobId: job.jobId, command, state: 'succeeded', error: null, result, durationMs: 1000 } as const;
  return recordJob(run, { ...ended, ...more }, NOW);
}
/** A restore: its plan, then the restore itself. */
export const endRestore = (run: RunbookRun, step: string): RunbookRun => end(end(run, step), step);
