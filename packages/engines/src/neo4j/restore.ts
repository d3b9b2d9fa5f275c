import {
  assertConsented,
  type EngineContext,
  Failure,
  type RecoverySource,
  type RestoreOrder,
  type RestoreResult,
} from '@lastgood/core';
import { type Detail, type Finding, makeFinding } from '@lastgood/protocol';
import type { AdminContext } from './admin-tool.ts';
import { BoltSession, boltTargetOf } from './bolt-session.ts';
import { compareFingerprints, readFingerprint } from './fingerprint.ts';
import { loadFingerprint, objectsOf } from './fingerprint-schema.ts';
import { type MadePlan, makePlan } from './make-plan.ts';
import { checkStaging, loadStaging, type StagingReport, swapIn } from './restore-files.ts';
import { restoreNamesOf } from './restore-names.ts';
import { waitUntilUsable, whileStopped } from './service-steps.ts';
import { SYSTEM_DATABASE } from './store-folders.ts';
import { adminContextOf, type Neo4jTarget } from './target.ts';
import { describeDifference } from './verify.ts';

/** Removes what a restore has loaded. */
export const REMOVE_STORES = 'remove-stores';
/** Brings the old databases back. */
export const SWAP_BACK = 'swap-back';
const MAX_WARNINGS = 20;

interface RestoreRun {
  readonly target: Neo4jTarget;
  readonly plan: MadePlan;
  readonly admin: AdminContext;
  readonly jobId: string;
  readonly context: EngineContext;
}

/**
 * Carries out exactly the plan that was consented to. Loads and checks the databases under other names while the server runs, and swaps
 * them in during a short stop. If the restored databases cannot be used, the old ones are brought back. Throws PLAN_CHANGED, RESTORE_FAILED,
 * SERVICE_* or the error of a refusal.
 */
export async function restore(
  target: Neo4jTarget,
  { request, jobId, planHash }: RestoreOrder,
  backups: RecoverySource,
  context: EngineContext,
): Promise<RestoreResult> {
  const started = context.clock.monotonic();
  const plan = await makePlan(target, request, backups, context);
  const { summary } = plan;
  assertConsented(summary, planHash);
  const run: RestoreRun = { target, plan, admin: await adminContextOf(target, context.signal), jobId, context };
  for (const { name } of plan.databases) await loadAndCheck(run, name);
  const downtimeMs = await swap(run);
  const checked = await checkRestored(run);
  const asides = plan.databases.filter(({ replaces }) => replaces).map(({ name }) => restoreNamesOf(name, jobId).aside);
  return {
    command: 'restore',
    backupId: summary.backupId,
    scope: request.scope,
    recoveryPoint: summary.recoveryPoint,
    into: summary.into,
    setAsideAs: asides.length === 0 ? null : asides.join(', '),
    warnings: [...summary.warnings, ...checked.warnings].slice(0, MAX_WARNINGS),
    counts: [...checked.counts, { label: 'downtime', value: downtimeMs, unit: 'milliseconds' }],
    durationMs: Math.round(context.clock.monotonic() - started),
  };
}

/** Loads one database under its staging name and checks it; the server runs meanwhile. */
async function loadAndCheck({ plan, admin, jobId, context }: RestoreRun, database: string): Promise<void> {
  const { source, databases } = plan;
  const { dump } = objectsOf(source, database);
  const names = restoreNamesOf(database, jobId);
  context.progress({ phase: 'restore', doneBytes: 0, totalBytes: dump.produced.size });
  context.signal.throwIfAborted();
  const params = { jobId, database };
  await context.steps.run({ kind: 'load-store', params, compensation: { kind: REMOVE_STORES, params } }, () =>
    loadStaging(admin, names, source.open(dump, context.signal)).catch(refuseArchive),
  );
  context.progress({ phase: 'check', doneBytes: 0, totalBytes: null });
  const expected = databases.find(({ name }) => name === database);
  if (expected === undefined) throw new Failure('NOT_FOUND', `the plan does not hold database "${database}"`);
  const report = await checkStaging(admin, names, expected);
  if (report.state !== 'ready')
    throw new Failure(
      'RESTORE_FAILED',
      `database "${database}" was loaded, but is not what was backed up (${reasonOf(report)})`,
      {
        remedy: 'Nothing was replaced. Restore another backup, and verify this one.',
      },
    );
}

const reasonOf = (report: Exclude<StagingReport, { state: 'ready' }>): string =>
  report.state === 'unexpected' ? report.reason : report.check.state;

/** An archive that neo4j-admin refuses is the failure of the restore. */
function refuseArchive(error: unknown): never {
  if (error instanceof Failure && error.code === 'TOOL_FAILED')
    throw new Failure('RESTORE_FAILED', error.message, {
      cause: error,
      remedy: 'Nothing was replaced. Verify the backup.',
    });
  throw error;
}

/** Swaps all databases in while the server is stopped. Returns how long (ms) they could not be used. */
async function swap({ target, plan, admin, jobId, context }: RestoreRun): Promise<number> {
  const databases = plan.databases.map(({ name, replaces }) => ({ name, replaced: replaces }));
  const params = { jobId, databases };
  const begun = context.clock.monotonic();
  await whileStopped(target, context, () =>
    context.steps.run({ kind: 'swap-stores', params, compensation: { kind: SWAP_BACK, params } }, async () => {
      for (const { name } of databases) await swapIn(admin, restoreNamesOf(name, jobId));
    }),
  );
  const names = [SYSTEM_DATABASE, ...databases.map(({ name }) => name).filter((name) => name !== SYSTEM_DATABASE)];
  await waitUntilUsable(target, names, context);
  return Math.round(context.clock.monotonic() - begun);
}

interface Checked {
  readonly counts: readonly Detail[];
  readonly warnings: readonly Finding[];
}

/** Counts the restored graphs. A client that writes already explains a difference, which is a warning then. */
async function checkRestored({ target, plan, context }: RestoreRun): Promise<Checked> {
  const { connection } = target;
  const { queryMs } = connection;
  const counts: Detail[] = [];
  const warnings: Finding[] = [];
  context.progress({ phase: 'compare', doneBytes: 0, totalBytes: null });
  await using session = await BoltSession.open(await boltTargetOf(connection), context.signal);
  for (const { name, lastTransaction } of plan.databases) {
    const { fingerprint } = objectsOf(plan.source, name);
    if (fingerprint === null) continue;
    const expected = await loadFingerprint(plan.source, fingerprint, context.signal);
    const found = await readFingerprint(session, name, { digests: false, queryMs });
    const differences = compareFingerprints(expected, found).map(describeDifference);
    const wasWritten = (await session.lastTransaction(name, queryMs)) !== lastTransaction;
    if (differences.length > 0 && !wasWritten)
      throw new Failure(
        'RESTORE_FAILED',
        `database "${name}" differs from its backup: ${differences.slice(0, 3).join('; ')}`,
      );
    if (differences.length > 0) warnings.push(makeFinding('WRITTEN_AFTER_RESTORE', { kind: 'database', name }));
    else
      counts.push(
        { label: `nodes of ${name}`.slice(0, 64), value: found.nodes, unit: 'count' },
        { label: `relationships of ${name}`.slice(0, 64), value: found.relationships, unit: 'count' },
      );
  }
  return { counts, warnings };
}
