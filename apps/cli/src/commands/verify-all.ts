import { Failure } from '@lastgood/core';
import { planSweep, type SweepStep, type SweepTarget } from '@lastgood/core/objectives';
import { EXIT_STATUS, type TargetView } from '@lastgood/protocol';
import type { AdminClient } from '../client.ts';
import type { CommandContext } from '../command-context.ts';
import { type JunitCase, junitLines } from '../format/junit.ts';
import { type SweepReport, sweepLines, sweepProblems } from '../format/sweep-lines.ts';
import { durationMs, wholeNumber } from './input.ts';
import { runJob, type VerifyOptions } from './jobs.ts';
import { fullName } from './resolve.ts';

export interface VerifyAllOptions extends VerifyOptions {
  readonly maxAge?: string;
  readonly env?: string;
  readonly junit?: boolean;
}

/** So many hosts verify at once; a host verifies one backup after the other. */
const HOSTS_AT_ONCE = 8;
/** A failure with one of these codes concerns the caller or the control plane, not one target. */
const OF_ALL: ReadonlySet<string> = new Set(['CONTROL_UNREACHABLE', 'UNAUTHENTICATED', 'FORBIDDEN', 'BAD_INPUT']);

async function sweepTarget(client: AdminClient, target: TargetView): Promise<SweepTarget> {
  const [newest] = await client.backups.query({ target: fullName(target), limit: 1 });
  return {
    environment: target.environment,
    host: target.host,
    target: target.name,
    isOnline: target.online,
    newest:
      newest === undefined
        ? null
        : {
            backupId: newest.backupId,
            atMs: Date.parse(newest.recoveryPoint),
            state: newest.state,
            verifiedLevel: newest.verified?.passed === true ? newest.verified.level : null,
          },
  };
}

/** Hosts that have reported no target: nothing of them is protected, so they are in the report. */
async function hostsWithoutTargets(client: AdminClient, isSelected: (name: string) => boolean): Promise<SweepReport[]> {
  const hosts = await client.hosts.query({});
  return hosts
    .filter(({ targets, environment }) => targets.length === 0 && isSelected(environment))
    .map(({ environment, host }) => ({
      environment,
      host,
      target: null,
      backupId: null,
      ageMs: null,
      findings: ['no_target'],
      verification: null,
      error: null,
    }));
}

interface Verification {
  readonly level: 0 | 1 | 2 | 3 | 4 | 5 | 6;
  readonly options: VerifyAllOptions;
}

/** Verifies the backup of a step. A failure of this target is part of its report; any other is thrown. */
async function verifyStep(context: CommandContext, step: SweepStep, wanted: Verification): Promise<SweepReport> {
  const { environment, host, target, findings, ageMs, verify: backupId } = step;
  const report: SweepReport = { environment, host, target, backupId, ageMs, findings, verification: null, error: null };
  if (backupId === null) return report;
  const { level, options } = wanted;
  const consent = options.acceptUnsigned === true ? { acceptUnsigned: true as const } : {};
  const spec = { command: 'verify', target, backupId, level, ...consent } as const;
  try {
    const { result } = await runJob(context, `${environment}/${host}/${target}`, spec, options);
    return {
      ...report,
      findings: result.passed ? findings : [...findings, 'verification_failed'],
      verification: { level: result.reached, passed: result.passed },
    };
  } catch (error) {
    if (!(error instanceof Failure) || OF_ALL.has(error.code)) throw error;
    return { ...report, error: { code: error.code, message: error.message } };
  }
}

/** Runs the steps: hosts side by side, the steps of a host in order. */
async function runSweep(
  context: CommandContext,
  steps: readonly SweepStep[],
  wanted: Verification,
): Promise<SweepReport[]> {
  const hosts = [...Map.groupBy(steps, ({ environment, host }) => `${environment}/${host}`).values()];
  const reports: SweepReport[] = [];
  const work = async (): Promise<void> => {
    for (let own = hosts.shift(); own !== undefined; own = hosts.shift())
      for (const step of own) reports.push(await verifyStep(context, step, wanted));
  };
  await Promise.all(Array.from({ length: HOSTS_AT_ONCE }, work));
  return reports;
}

/** Reports the newest backup of every target and its age, and verifies those that have not passed the level yet. */
export async function verifyAll(context: CommandContext, options: VerifyAllOptions): Promise<number> {
  const { output } = context;
  if (options.junit === true && output.json) throw new Failure('BAD_INPUT', 'give only one of --json and --junit');
  if (options.at !== undefined) throw new Failure('BAD_INPUT', '--all verifies newest backups: it takes no --at');
  const level = wholeNumber('--level', options.level, 0, 6) as Verification['level'];
  const maxAgeMs = options.maxAge === undefined ? null : durationMs('--max-age', options.maxAge);
  const isSelected = (environment: string): boolean => options.env === undefined || environment === options.env;
  const client = await context.client();
  const targets = (await client.targets.query({})).filter(({ environment }) => isSelected(environment));
  const found: SweepTarget[] = [];
  for (const target of targets) found.push(await sweepTarget(client, target));
  const steps = planSweep(found, { maxAgeMs, level }, Date.now());
  const swept = await runSweep(context, steps, { level, options });
  const reports = [...(await hostsWithoutTargets(client, isSelected)), ...swept];
  output.answer({ targets: reports }, () =>
    options.junit === true ? junitLines('lastgood verify', reports.map(junitCase)) : sweepLines(reports),
  );
  const fails = reports.length === 0 || reports.some((report) => sweepProblems(report).length > 0);
  return fails ? EXIT_STATUS.found.status : EXIT_STATUS.done.status;
}

const junitCase = (report: SweepReport): JunitCase => ({
  suite: report.environment,
  name: `${report.environment}/${report.host}${report.target === null ? '' : `/${report.target}`}`,
  problems: sweepProblems(report),
});
