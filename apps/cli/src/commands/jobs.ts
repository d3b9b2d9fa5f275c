import { randomUUID } from 'node:crypto';
import { exitStatusOf, Failure, failureOfRefusals, newestInstant, restoreScopeOf, windowAt } from '@lastgood/core';
import { instant } from '@lastgood/core/format';
import type {
  JobResult,
  JobSpec,
  JobView,
  RestoreInto,
  RestorePlanSummary,
  RestoreRequest,
  TargetView,
} from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { jobDocument } from '../documents.ts';
import { shortId } from '../format/ids.ts';
import { planLines, resultLines } from '../format/job-lines.ts';
import { safeText, shellWord } from '../format/safe-text.ts';
import { askPatiently, failureOfJob, watchJob } from '../watch.ts';
import { durationMs, instantMs, wholeNumber } from './input.ts';
import { fullName, jobIdOf, oneBackup, oneTarget } from './resolve.ts';

export interface Timing {
  readonly startBy?: string;
  readonly deadline?: string;
}
const timing = ({ startBy, deadline }: Timing): { startByMs?: number; deadlineMs?: number } => ({
  ...(startBy === undefined ? {} : { startByMs: durationMs('--start-by', startBy) }),
  ...(deadline === undefined ? {} : { deadlineMs: durationMs('--deadline', deadline) }),
});

export async function sendJob(
  context: CommandContext,
  target: string,
  spec: JobSpec,
  times: Timing = {},
): Promise<JobView> {
  const client = await context.client();
  // One key for all tries: a job whose answer was lost with the control plane is found again, not made twice.
  const idempotencyKey = randomUUID();
  try {
    return await askPatiently(context, () =>
      client.createJob.mutate({ target, spec, idempotencyKey, ...timing(times) }),
    );
  } catch (error) {
    if (context.signal.aborted)
      context.output.note(
        `stopped while the job was being sent; \`lastgood jobs list ${target}\` shows whether it was made.`,
      );
    throw error;
  }
}

/** Sends a job and follows it to its end; gives its result or throws what it failed with. */
export async function runJob<C extends JobSpec['command']>(
  context: CommandContext,
  target: string,
  spec: Extract<JobSpec, { command: C }>,
  times: Timing = {},
): Promise<{ job: JobView; result: Extract<JobResult, { command: C }> }> {
  const { output, signal, url } = context;
  const sent = await sendJob(context, target, spec, times);
  output.note(
    `${spec.command} of ${target}: job ${sent.jobId}${sent.hostOnline ? '' : ' (the host is offline; the job waits for it)'}`,
  );
  const job = await watchJob(sent.jobId, { client: await context.client(), url, output, signal });
  const failure = failureOfJob(job);
  if (failure !== undefined) throw failure;
  if (job.result?.command !== spec.command) throw new Failure('BUG', `the job brought no result of ${spec.command}`);
  return { job, result: job.result as Extract<JobResult, { command: C }> };
}

export interface BackupOptions extends Timing {
  readonly method?: string;
  readonly database?: string[];
  readonly digests?: boolean;
  readonly detach?: boolean;
}

export async function backup(context: CommandContext, selector: string, options: BackupOptions): Promise<number> {
  const target = await oneTarget(await context.client(), selector);
  const spec = {
    command: 'backup',
    target: target.name,
    method: options.method ?? null,
    contents: options.database ?? null,
    options: options.digests === true ? { digests: true } : {},
  } as const;
  if (options.detach === true) {
    const job = await sendJob(context, fullName(target), spec, options);
    context.output.answer({ job: jobDocument(job) }, () => [
      `job ${job.jobId}; follow it with \`lastgood jobs watch ${job.jobId}\``,
    ]);
    return 0;
  }
  const { job, result } = await runJob(context, fullName(target), spec, options);
  const suspect = result.backup.state === 'suspect';
  const clear = `lastgood verify ${shellWord(fullName(target))} ${shortId(result.backup.backupId)} --level 4`;
  const told = [
    '  suspect     its size is far from those before it, so it replaces none of them: look at the server;',
    `              if it is right, restore-test the backup:  ${clear}`,
  ];
  context.output.answer({ job: jobDocument(job) }, () => [...resultLines(result), ...(suspect ? told : [])]);
  return exitStatusOf(result);
}

/** The consent to a backup that nobody trusted has signed. */
const consentOf = ({ acceptUnsigned }: { readonly acceptUnsigned?: boolean }): { acceptUnsigned?: true } =>
  acceptUnsigned === true ? { acceptUnsigned } : {};

export interface VerifyOptions extends Timing {
  readonly level: string;
  readonly at?: string;
  readonly acceptUnsigned?: boolean;
  readonly repository?: string;
}

export async function verify(
  context: CommandContext,
  selector: string,
  backup: string | undefined,
  options: VerifyOptions,
): Promise<number> {
  const client = await context.client();
  const level = wholeNumber('--level', options.level, 0, 6) as 0 | 1 | 2 | 3 | 4 | 5 | 6;
  const target = await oneTarget(client, selector);
  const {
    backup: { backupId },
  } = await oneBackup(client, fullName(target), { backup, at: options.at }, 'verify');
  const { job, result } = await runJob(
    context,
    fullName(target),
    {
      command: 'verify',
      target: target.name,
      backupId,
      level,
      ...(options.repository === undefined ? {} : { repository: options.repository }),
      ...consentOf(options),
    },
    options,
  );
  context.output.answer({ job: jobDocument(job) }, () => resultLines(result));
  return exitStatusOf(result);
}

export interface RotateOptions {
  readonly keepLast?: string;
  readonly keepWithin?: string;
  readonly minimum: string;
  readonly dryRun?: boolean;
  readonly confirm?: string;
}

/** Consent is given by name: what is typed must be what the plan says. */
export async function confirmByName(
  context: CommandContext,
  given: string | undefined,
  wanted: string,
  what: string,
): Promise<void> {
  const answer = given ?? (await context.ask(`${what}\nType "${safeText(wanted)}" to go on: `));
  if (answer === undefined)
    throw new Failure('NOT_CONFIRMED', `${what}; nobody confirmed it`, {
      remedy: `Repeat with --confirm ${shellWord(wanted)}`,
    });
  if (answer !== wanted) throw new Failure('NOT_CONFIRMED', `"${answer}" is not "${wanted}"; nothing was changed`);
}

export async function rotate(context: CommandContext, selector: string, options: RotateOptions): Promise<number> {
  const client = await context.client();
  const target = await oneTarget(client, selector);
  const retention = {
    minimum: wholeNumber('--minimum', options.minimum, 1, 1000),
    ...(options.keepLast === undefined ? {} : { keepLast: wholeNumber('--keep-last', options.keepLast, 1, 100_000) }),
    ...(options.keepWithin === undefined
      ? {}
      : { keepWithinHours: durationMs('--keep-within', options.keepWithin) / 3_600_000 }),
  };
  const dryRun = options.dryRun === true;
  if (!dryRun)
    await confirmByName(
      context,
      options.confirm,
      target.name,
      `Rotation removes backups of ${fullName(target)} (see --dry-run)`,
    );
  const { job, result } = await runJob(context, fullName(target), {
    command: 'rotate',
    target: target.name,
    retention,
    holds: [],
    dryRun,
  });
  context.output.answer({ job: jobDocument(job) }, () => resultLines(result));
  return 0;
}

export interface RestoreOptions extends Timing {
  readonly at?: string;
  readonly database?: string;
  readonly toNew?: string;
  readonly toFolder?: string;
  readonly swap?: boolean;
  readonly inPlace?: boolean;
  readonly acceptInvalidConstraints?: boolean;
  readonly acceptUnsigned?: boolean;
  readonly planOnly?: boolean;
  readonly confirm?: string;
}

function intoOf(options: RestoreOptions): RestoreInto {
  const { toNew, toFolder, swap, inPlace } = options;
  const ways: RestoreInto[] = [];
  if (toNew !== undefined) ways.push({ way: 'new', name: toNew });
  if (toFolder !== undefined) ways.push({ way: 'folder', folder: toFolder });
  if (swap === true) ways.push({ way: 'swap' });
  if (inPlace === true) ways.push({ way: 'in-place' });
  const [into] = ways;
  if (into === undefined || ways.length > 1)
    throw new Failure('BAD_INPUT', 'choose one of --to-new NAME, --to-folder NAME, --swap and --in-place');
  return into;
}

/**
 * The point that a restore of a whole server brings back when a log stream covers it: the instant of --at inside a recovery window, or the
 * newest one. An instant that the stream has not stored yet is asked for as well, so that the host says so. Null: a backup is meant.
 */
function pointInTime(
  target: TargetView,
  wanted: string | undefined,
  at: string | undefined,
): RestoreRequest['point'] | null {
  const newest = newestInstant(target);
  if (newest === null || (wanted !== undefined && wanted !== 'latest')) return null;
  if (at === undefined) return { kind: 'latest' };
  const atMs = instantMs('--at', at);
  const isCovered = windowAt(target, atMs) !== null || atMs > newest.atMs;
  return isCovered ? { kind: 'time', time: at } : null;
}

/** The point that a restore brings back, and how much of it. */
async function requestOf(
  context: CommandContext,
  target: TargetView,
  wanted: string | undefined,
  options: RestoreOptions,
): Promise<RestoreRequest> {
  const into = intoOf(options);
  const wholeServer = into.way === 'folder';
  const point = wholeServer ? pointInTime(target, wanted, options.at) : null;
  if (point !== null) return { scope: { kind: 'server' }, point, into, options: {} };
  const { backup, passedOver } = await oneBackup(
    await context.client(),
    fullName(target),
    { backup: wanted, at: options.at },
    'restore',
    options.database,
    wholeServer ? 'server' : 'database',
  );
  if (passedOver !== null)
    context.output.note(
      `Newer ones are suspect or bad and passed over, the newest is ${shortId(passedOver.backupId)} of ${instant(passedOver.recoveryPoint)}; it can be named instead of "latest".`,
    );
  return {
    scope: restoreScopeOf(backup.contents, { database: options.database, wholeServer }),
    point: { kind: 'backup', backupId: backup.backupId },
    into,
    options: options.acceptInvalidConstraints === true ? { acceptInvalidConstraints: true } : {},
  };
}

/** What a restore does to what is there, for the person who consents to it. */
function consequenceOf({ into, replaces, request, recoveryPoint }: RestorePlanSummary, target: string): string {
  const name = `"${safeText(into)}" on ${target}`;
  if (replaces.length === 0) return `This creates ${name}; nothing is replaced`;
  return request.into.way === 'swap'
    ? `This disconnects the clients of, replaces (and keeps aside) ${name}`
    : `This OVERWRITES ${name} and cannot be undone: everything written since ${instant(recoveryPoint)} is lost`;
}

/** Plan, show, consent, then exactly that plan. */
export async function restore(
  context: CommandContext,
  selector: string,
  wanted: string | undefined,
  options: RestoreOptions,
): Promise<number> {
  const client = await context.client();
  const { output } = context;
  const target = await oneTarget(client, selector);
  const request = await requestOf(context, target, wanted, options);
  const { into } = request;
  const planned = await runJob(context, fullName(target), {
    command: 'plan',
    target: target.name,
    request,
    ...consentOf(options),
  });
  const plan: RestorePlanSummary = planned.result.plan;
  if (options.planOnly === true) {
    output.answer({ job: jobDocument(planned.job) }, () => planLines(plan));
    return exitStatusOf(planned.result);
  }
  for (const line of planLines(plan)) output.note(line);
  if (plan.refusals.length > 0) throw failureOfRefusals(plan.refusals);
  if (into.way === 'swap' || into.way === 'in-place')
    await confirmByName(context, options.confirm, plan.confirm, consequenceOf(plan, fullName(target)));
  const { job, result } = await runJob(
    context,
    fullName(target),
    { command: 'restore', target: target.name, request, planHash: plan.hash, ...consentOf(options) },
    options,
  );
  const undoLine =
    result.setAsideAs === null
      ? []
      : [`  undo with   lastgood undo ${fullName(target)} ${job.jobId} --confirm ${shellWord(result.into)}`];
  output.answer({ job: jobDocument(job) }, () => [...resultLines(result), ...undoLine]);
  return 0;
}

export interface UndoOptions {
  readonly confirm?: string;
  readonly planOnly?: boolean;
}

export async function undo(
  context: CommandContext,
  selector: string,
  wanted: string,
  options: UndoOptions,
): Promise<number> {
  const client = await context.client();
  const target = await oneTarget(client, selector);
  const restoreJobId = await jobIdOf(client, wanted);
  const restored = await client.job.query({ jobId: restoreJobId });
  if (restored.result?.command !== 'restore' || restored.result.setAsideAs === null)
    throw new Failure('UNDO_IMPOSSIBLE', `job ${restoreJobId} is not a restore that set old data aside`);
  const { into } = restored.result;
  const planned = await runJob(context, fullName(target), { command: 'plan-undo', target: target.name, restoreJobId });
  if (options.planOnly === true) {
    context.output.answer({ job: jobDocument(planned.job) }, () => resultLines(planned.result));
    return 0;
  }
  for (const line of resultLines(planned.result)) context.output.note(line);
  await confirmByName(
    context,
    options.confirm,
    into,
    `This disconnects the clients of "${safeText(into)}" on ${fullName(target)} and brings back what it was before the restore of ${instant(restored.createdAt)}; what is there now, with all that was written since, is kept aside`,
  );
  const { job, result } = await runJob(context, fullName(target), {
    command: 'undo',
    target: target.name,
    restoreJobId,
  });
  context.output.answer({ job: jobDocument(job) }, () => resultLines(result));
  return 0;
}
