import {
  type BackupMethod,
  type Clock,
  candidatesOf,
  type EngineContext,
  type EngineDefinition,
  expectedBytes,
  Failure,
  matchesPattern,
  planRotation,
  type Repository,
  type StoredBackup,
  standingVerdict,
  summariesOf,
  unreachable,
} from '@lastgood/core';
import { engineNamed } from '@lastgood/engines';
import { uuidv7 } from '@lastgood/host';
import {
  backupIdOf,
  type Finding,
  type FindingCode,
  formatReason,
  type HostJobSpec,
  type JobResult,
  type JobSpec,
  makeFinding,
  makeReason,
  makeRefusal,
  type VerificationFinding,
  type VerificationLevel,
} from '@lastgood/protocol';
import { z } from 'zod';
import { faultPoint } from '../fault-point.ts';
import { VERSION } from '../version.ts';
import { copyBackups, inCopiesOf, repositoryNamed, rotateCopies } from './copies.ts';
import { listContents } from './list-contents.ts';
import { lockedIn } from './locked-backups.ts';
import { pruneLogs } from './prune-logs.ts';
import { recoverySource, type TargetBackups } from './recovery-source.ts';
import type { Target } from './targets.ts';

const MAX_FINDINGS = 20;
/** The verdict is kept beside the manifest: without one there is no place for it. */
const MANIFEST_UNREADABLE: FindingCode = 'MANIFEST_UNREADABLE';

export interface Execution {
  readonly target: Target;
  readonly jobId: string;
  readonly attempt: number;
  /** Who has ordered the job. */
  readonly createdBy: string;
  readonly context: EngineContext;
  /** The control plane's clock as far as it is known. */
  readonly controlNow: number | null;
  /** By how much the clock of this host was lately seen to jump. */
  readonly jumpedMs: number;
}
type TargetJobSpec = Exclude<JobSpec, HostJobSpec>;
type Spec<C extends JobSpec['command']> = Extract<JobSpec, { command: C }>;

const iso = (clock: Clock): string => new Date(clock.now()).toISOString();

/** The method of a backup job, with its options checked. Throws BAD_INPUT for others than the engine defines. */
function backupMethodOf({ method, options }: Spec<'backup'>, { name, methods }: EngineDefinition): BackupMethod {
  const chosen = method === null ? methods[0] : methods.find((each) => each.name === method);
  if (chosen === undefined)
    throw new Failure('BAD_INPUT', `${name} has no backup method "${method}"`, {
      remedy: `Use one of: ${methods.map((each) => each.name).join(', ')}.`,
    });
  const parsed = chosen.optionsSchema.safeParse(options);
  if (!parsed.success)
    throw new Failure('BAD_INPUT', `options of the method "${chosen.name}": ${z.prettifyError(parsed.error)}`);
  return chosen;
}

/** What a backup of everything contains where the agent file excludes something of it; null where it does not, or no method could. */
function includedOf(all: readonly string[], method: BackupMethod, { name, config }: Target): string[] | null {
  if (!method.selectsContents) return null;
  const included = all.filter((content) => !matchesPattern(content, config.exclude));
  if (included.length === all.length) return null;
  if (included.length === 0)
    throw new Failure('BAD_INPUT', `the agent file excludes every database of target "${name}"`, {
      remedy: 'Correct `exclude` of the target in the agent file, or name the databases with --database.',
    });
  return included;
}

async function backup(spec: Spec<'backup'>, { target, jobId, attempt, context }: Execution): Promise<JobResult> {
  const started = context.clock.monotonic();
  const method = backupMethodOf(spec, engineNamed(target.engine.name));
  const repository = await target.repository();
  const server = await target.engine.identify(context);
  const contents = spec.contents ?? includedOf(server.contents, method, target);
  const { backups } = await repository.list(target.ref);
  const ofMethod = backups.filter(({ manifest }) => manifest.method === method.name);
  const expected = expectedBytes(ofMethod, contents ?? server.contents);
  const free = await repository.freeBytes();
  if (free !== null && free < expected)
    throw new Failure(
      'NO_SPACE',
      `these databases took ${expected} bytes when they were last backed up, ${free} bytes are free in the repository`,
      { remedy: 'Free space in the repository, by `lastgood rotate` for example, then repeat the backup.' },
    );
  const writer = await repository.begin(
    {
      ref: target.ref,
      backupId: uuidv7(context.clock.now()),
      jobId,
      attempt,
      engine: target.engine.name,
      startedAt: iso(context.clock),
      lastgoodVersion: VERSION,
    },
    server.systemId,
    context,
  );
  let published: { manifestSha256: string; manifest: { backupId: string } };
  try {
    const facts = await target.engine.backup({ method: method.name, contents, options: spec.options }, writer, context);
    faultPoint('engine-done');
    context.signal.throwIfAborted();
    published = await writer.publish(facts, iso(context.clock));
  } catch (error) {
    await writer.abandon();
    throw error;
  }
  faultPoint('published');
  const stored = await repository.read(target.ref, published.manifest.backupId);
  const summary = summariesOf([...backups, stored], target.config.repository).at(-1);
  if (summary === undefined) throw new Failure('NOT_FOUND', 'the backup disappeared after it was published');
  return { command: 'backup', backup: summary, durationMs: Math.round(context.clock.monotonic() - started) };
}

/** The newest backup of a target that is not known to be bad and that this version can restore. */
async function newestBackupId(repository: Repository, target: Target): Promise<string> {
  const { backups } = await repository.list(target.ref);
  const newest = backups.findLast(({ verified, restorable }) => verified?.passed !== false && restorable.ok);
  if (newest === undefined)
    throw new Failure('NOT_FOUND', `there is no good backup of "${target.name}" to verify`, {
      remedy: 'Take a backup first.',
    });
  return newest.manifest.backupId;
}

/** The finding of a manifest that was put in the place of the one that the catalog knows; one that cannot be read is reported already. */
function replacedManifest(stored: StoredBackup | undefined, known: string | undefined): VerificationFinding[] {
  if (stored === undefined || known === undefined || stored.manifestSha256 === known) return [];
  const params = { found: stored.manifestSha256, known };
  return [{ level: 1, object: 'manifest.json', ...makeFinding('MANIFEST_REPLACED', null, params) }];
}

async function verify(spec: Spec<'verify'>, { target, context }: Execution): Promise<JobResult> {
  const started = context.clock.monotonic();
  const { level } = spec;
  const ofCopy = spec.repository === target.config.repository ? undefined : spec.repository;
  const repository = await repositoryNamed(target, ofCopy, { acceptUnsigned: spec.acceptUnsigned });
  const backupId = spec.backupId ?? (await newestBackupId(repository, target));
  // A manifest that cannot be read is a finding of level 0.
  const stored = await repository.read(target.ref, backupId).catch(() => undefined);
  if (stored !== undefined) target.engine.checkLevel(level, stored.manifest);
  // Without a key of an encrypted backup, the job fails before it reads everything.
  if (level >= 2 && stored?.manifest.objects.some(({ encryption }) => encryption !== null))
    await repository.open(target.ref, backupId);
  let remarks: readonly Finding[] = [];
  const own: VerificationFinding[] = [
    ...(await repository.verify(
      target.ref,
      backupId,
      level === 0 ? 0 : 1,
      context.signal,
      (doneBytes) => context.progress({ phase: 'reread', doneBytes, totalBytes: null }),
      (remark) => context.log(`${backupId}: ${remark}`),
    )),
    ...(level === 0 ? [] : replacedManifest(stored, spec.manifestSha256)),
  ];
  let reached: VerificationLevel | -1 = level === 0 ? 0 : 1;
  if (own.length > 0) reached = (Math.min(...own.map((finding) => finding.level)) - 1) as VerificationLevel | -1;
  else if (level >= 2) {
    const outcome = await target.engine.verify(level, await repository.open(target.ref, backupId), context);
    own.push(...outcome.findings);
    reached = outcome.reached;
    remarks = outcome.remarks ?? [];
  }
  const at = iso(context.clock);
  const passed = own.length === 0;
  const found = { level: reached, at, passed };
  const stands = standingVerdict(stored?.verified ?? null, found);
  if (stands !== stored?.verified && own.every(({ code }) => code !== MANIFEST_UNREADABLE))
    await repository.recordVerified(target.ref, backupId, stands).catch((error: unknown) => {
      // A host that took over from a lost one verifies before it makes the folder its own; the result is reported all the same.
      if (!(error instanceof Failure && error.code === 'REPOSITORY_FOREIGN')) throw error;
      context.log(`the verdict was not kept with the backup: ${error.message}`);
    });
  return {
    command: 'verify',
    backupId,
    level,
    reached,
    passed,
    findings: own.slice(0, MAX_FINDINGS),
    remarks: remarks.slice(0, MAX_FINDINGS),
    durationMs: Math.round(context.clock.monotonic() - started),
    at,
    ...(ofCopy === undefined ? {} : { repository: ofCopy }),
  };
}

async function rotate(spec: Spec<'rotate'>, { target, context, controlNow, jumpedMs }: Execution): Promise<JobResult> {
  const repository = await target.repository();
  const { backups, broken } = await repository.list(target.ref);
  const held = backups.flatMap((backup) => (backup.held === null ? [] : [backup.manifest.backupId]));
  const now = context.clock.now();
  const removalLog = target.removalLog(context.clock);
  const rules = {
    retention: spec.retention,
    inUse: new Set<string>(),
    now,
    controlNow,
    jumpedMs,
    hostLimits: target.config.allow,
    acceptedSequence: await target.acceptedSequence(),
  };
  const plan = planRotation({
    ...rules,
    backups: candidatesOf(backups),
    holds: new Set([...spec.holds, ...held]),
    storeNow: await repository.storeNow(),
    removedLastDay: removalLog.countLastDay,
  });
  if (plan.refused !== null && !spec.dryRun) throw new Failure('CLOCK_UNTRUSTED', formatReason(plan.refused));
  const removed = plan.decisions.filter((decision) => !decision.keep);
  let freedBytes = 0;
  let stuck: Failure | undefined;
  // An object that cannot be deleted fails the job at its end: it must not keep other backups from being removed.
  const purge = async (graceMs: number): Promise<void> => {
    try {
      freedBytes += await repository.purge(target.ref, now, graceMs);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      stuck ??= error;
    }
  };
  if (!spec.dryRun) {
    // What was removed earlier goes first: on a full disk that makes the room for the tombstones of the others.
    await purge(target.graceMs);
    for (const backupId of plan.removals) {
      context.signal.throwIfAborted();
      removalLog.record();
      await repository.remove(target.ref, backupId, now);
    }
    if (target.graceMs === 0) await purge(0);
    await pruneLogsOf(target, repository, context);
    if (stuck !== undefined) throw stuck;
  }
  const locked = spec.dryRun ? null : await lockedIn(repository, target.ref, now, target.graceMs);
  const kept = plan.decisions.filter((decision) => decision.keep);
  const unread = broken.map(({ backupId, error: { code, message } }) => ({
    backupId,
    finishedAt: '',
    keep: true,
    reason: makeReason('BROKEN', { error: code, message }),
  }));
  const staying = new Set([...kept, ...unread].map(({ backupId }) => backupId));
  const rotation = { context, rules: { ...rules, holds: spec.holds }, kept: staying };
  const copies = spec.dryRun ? [] : await rotateCopies(target, rotation);
  return {
    command: 'rotate',
    dryRun: spec.dryRun,
    decisions: [...removed, ...unread, ...kept],
    keptCount: kept.length + unread.length,
    removedCount: removed.length,
    freedBytes,
    ...(locked === null ? {} : { locked }),
    ...(copies.length === 0 ? {} : { copies }),
    graceHours: target.graceMs / 3_600_000,
  };
}

async function pruneLogsOf(target: Target, repository: Repository, context: EngineContext): Promise<void> {
  const { stream } = engineNamed(target.engine.name);
  if (stream === null) return;
  const count = await pruneLogs(repository, target.ref, stream.isKept);
  if (count > 0) context.log(`removed ${count} segments of ${stream.title} that no backup needs`);
}

/** The backups and log streams of a target. Throws BACKUP_REPLACED when the backup has another manifest than the catalog knows. */
async function sourceOf(spec: Spec<'plan'> | Spec<'restore'>, target: Target): Promise<TargetBackups> {
  const source = await recoverySource(target, { acceptUnsigned: spec.acceptUnsigned });
  const backupId = backupIdOf(spec);
  if (backupId === null || spec.manifestSha256 === undefined) return source;
  const { backups } = await source.list();
  const found = backups.find(({ manifest }) => manifest.backupId === backupId)?.manifestSha256;
  if (found === undefined || found === spec.manifestSha256) return source;
  throw new Failure(
    'BACKUP_REPLACED',
    `the manifest of backup ${backupId} has the hash ${found}, the catalog knows ${spec.manifestSha256}`,
  );
}

/** The plan of a restore, with the repository that it reads when that is not the first one. */
async function plan(spec: Spec<'plan'>, { target, context }: Execution): Promise<JobResult> {
  const { request } = spec;
  const source = await sourceOf(spec, target);
  const made = await target.engine.plan(request, source, context);
  const holder = source.holderOf(made.backupId);
  const fromCopy =
    holder === undefined || holder === target.config.repository
      ? []
      : [makeFinding('RESTORE_FROM_COPY', null, { repository: holder })];
  const { way } = request.into;
  const isAllowed = target.config.allow.restore.includes(way);
  const subject = { kind: 'target', name: target.name } as const;
  const refusals = isAllowed ? [] : [makeRefusal('RESTORE_NOT_ALLOWED', subject, { mode: way })];
  const complete = {
    ...made,
    warnings: [...fromCopy, ...made.warnings],
    refusals: [...refusals, ...made.refusals],
  };
  return { command: 'plan', plan: complete };
}

/** The first hold of a backup stays: who has ordered it, and why, is not overwritten. */
async function hold(spec: Spec<'hold'>, { target, createdBy, context }: Execution): Promise<JobResult> {
  const { backupId, reason } = spec;
  const repository = await target.repository();
  const wanted = { reason, by: createdBy, at: iso(context.clock) };
  await repository.hold(target.ref, backupId, wanted);
  await inCopiesOf(target, backupId, (copy) => copy.hold(target.ref, backupId, wanted));
  const { held } = await repository.read(target.ref, backupId);
  if (held === null) throw new Failure('CONFLICT', `backup ${backupId} was released at the same time`);
  return { command: 'hold', backupId, hold: held };
}

async function dropSetAside(spec: Spec<'drop-set-aside'>, { target, context }: Execution): Promise<JobResult> {
  const started = context.clock.monotonic();
  const { engine } = target;
  if (engine.dropSetAside === undefined) throw new Failure('BAD_INPUT', `restores of ${engine.name} set nothing aside`);
  const { freedBytes } = await engine.dropSetAside(spec.name, context);
  const durationMs = Math.round(context.clock.monotonic() - started);
  return { command: 'drop-set-aside', name: spec.name, freedBytes, durationMs };
}

/** Runs one job on its target. Throws Failure; every effect that it began and could not finish is taken back before. */
export async function execute(spec: TargetJobSpec, execution: Execution): Promise<JobResult> {
  const { target, context } = execution;
  switch (spec.command) {
    case 'backup':
      return await backup(spec, execution);
    case 'verify':
      return await verify(spec, execution);
    case 'rotate':
      return await rotate(spec, execution);
    case 'plan':
      return await plan(spec, execution);
    case 'restore': {
      const { request, planHash } = spec;
      const source = await sourceOf(spec, target);
      return await target.engine.restore({ request, jobId: execution.jobId, planHash }, source, context);
    }
    case 'plan-undo':
      return {
        command: 'plan-undo',
        details: [...((await target.engine.planUndo?.(spec.restoreJobId, context)) ?? [])],
      };
    case 'undo':
      return await target.engine.undo(spec.restoreJobId, context);
    case 'hold':
      return await hold(spec, execution);
    case 'release': {
      const { backupId } = spec;
      const wasHeld = await (await target.repository()).release(target.ref, backupId);
      await inCopiesOf(target, backupId, (copy) => copy.release(target.ref, backupId));
      return { command: 'release', backupId, wasHeld };
    }
    case 'copy':
      return await copyBackups(spec, target, context);
    case 'drop-set-aside':
      return await dropSetAside(spec, execution);
    case 'list-contents':
      return await listContents(spec, target, context);
    default:
      return unreachable(spec);
  }
}
