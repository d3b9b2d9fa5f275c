import { newestRecoveryPoint, RESTORE_TEST_LEVEL, streamStateOf } from '@lastgood/core';
import type { BackupSize, TargetAlertFacts } from '@lastgood/core/alerts';
import { type EffectivePolicy, effectivePolicy, type FleetFile, type MatchTarget } from '@lastgood/core/fleet-file';
import { type RestoreMeasurement, restoreTimeOf, type TargetFacts } from '@lastgood/core/objectives';
import type { BackupSummary } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { TargetRecord } from '../catalog/inventory.ts';
import type { LastAttempt } from '../catalog/jobs.ts';
import type { LedgerStore } from '../dispatch/ledger-store.ts';
import { matchTargetOf } from './fleet-targets.ts';

/** Backups of a target that its size and its newest states are judged by. */
const RECENT = 60;

/** What the catalog knows of one target, so that its state can be computed at any instant without reading the catalog again. */
export interface CatalogFacts {
  readonly agentId: string;
  /** The target as the selectors of policies see it. */
  readonly match: MatchTarget;
  /** Null when no policy selects it. */
  readonly policy: EffectivePolicy | null;
  /** The newest good backup that can be restored. */
  readonly newestGood: BackupSummary | null;
  readonly measurements: readonly RestoreMeasurement[];
  readonly objectives: Omit<TargetFacts, 'hostState' | 'restoreTime'>;
  readonly lastBackup: (NonNullable<TargetAlertFacts['lastAttempt']> & { readonly atMs: number }) | null;
  readonly alerts: Omit<TargetAlertFacts, 'status' | 'thresholds'>;
}

const instant = (text: string): number => Date.parse(text);
const newestBy = <T>(all: readonly T[], at: (one: T) => number): T | undefined =>
  all.reduce<T | undefined>((best, one) => (best === undefined || at(one) > at(best) ? one : best), undefined);

/** The sizes of each method and contents, oldest first. */
function sizesOf(newestFirst: readonly BackupSummary[]): Record<string, BackupSize[]> {
  const series: Record<string, BackupSize[]> = {};
  for (const { method, contents, producedBytes, state, verified } of newestFirst.toReversed()) {
    if (state === 'missing') continue;
    const names = contents.map(({ name }) => name).toSorted();
    const key = [method, ...names].join(' ');
    series[key] ??= [];
    const verifiedLevel = verified?.passed === true ? verified.level : null;
    series[key].push({ producedBytes, state: state === 'bad' ? 'bad' : 'good', verifiedLevel });
  }
  return series;
}

/** The commands whose failed last attempt lowers the state of a target. */
const WATCHED = ['backup', 'verify', 'rotate'];

/** The last attempt to take a backup. One that the catalog knows by its backup alone has succeeded. */
function lastBackupOf(attempts: readonly LastAttempt[], newest: BackupSummary | undefined): CatalogFacts['lastBackup'] {
  const attempt = attempts.find(({ command }) => command === 'backup');
  const backupAt = newest === undefined ? Number.NEGATIVE_INFINITY : instant(newest.finishedAt);
  if (attempt === undefined || attempt.at <= backupAt)
    return newest === undefined ? null : { atMs: backupAt, succeeded: true, code: null };
  return { atMs: attempt.at, succeeded: attempt.succeeded, code: attempt.cause };
}

const failedOf = (attempts: readonly LastAttempt[]): TargetFacts['failedAttempts'] =>
  attempts.flatMap(({ command, at, failingSince, cause }) =>
    failingSince === null ? [] : [{ command, atMs: at, sinceMs: failingSince, cause }],
  );

function restoreTestOf(tested: BackupSummary | null): TargetFacts['restoreTest'] {
  const verified = tested?.verified ?? null;
  if (tested === null || verified === null || verified.level < RESTORE_TEST_LEVEL) return null;
  return { atMs: instant(verified.at), level: verified.level, backupId: tested.backupId };
}

/** How far the stored log was behind when it was reported. A gap counts until a later backup has opened a window behind it. */
function streamFactsOf({ inventory, seenAt }: TargetRecord): TargetAlertFacts['stream'] {
  const { stream } = inventory;
  if (stream === undefined) return null;
  const lagMs = stream.storedUntil === null ? null : Math.max(0, seenAt - instant(stream.storedUntil));
  return { lagMs, gaps: streamStateOf(inventory) === 'gap' ? stream.gaps.length : 0 };
}

async function measurementsOf(
  catalog: Catalog,
  agent: AgentRecord,
  { name: target, engine }: TargetRecord['inventory'],
  newestGood: BackupSummary | null,
): Promise<RestoreMeasurement[]> {
  const { agentId, environment, host } = agent;
  const times = await catalog.jobs.restoreTimes(agentId, target);
  const known = await catalog.backups.summaries(times.flatMap(({ backupId }) => backupId ?? []));
  const measured: RestoreMeasurement[] = [];
  for (const { backupId, durationMs, endedAt } of times) {
    const backup = backupId === null ? undefined : known.get(backupId);
    const method = backup?.method ?? newestGood?.method ?? '';
    // Without its backup the size is unknown: it measures this target, and no speed.
    const bytes = backup?.producedBytes ?? 0;
    measured.push({ environment, host, target, engine, method, content: null, bytes, durationMs, atMs: endedAt });
  }
  return measured;
}

/** Reads what the state of a target and its alerts follow from. */
export async function readFacts(
  { catalog, ledgers }: { readonly catalog: Catalog; readonly ledgers: LedgerStore },
  file: FleetFile,
  agent: AgentRecord,
  record: TargetRecord,
  nowMs: number,
): Promise<CatalogFacts> {
  const { agentId } = agent;
  const match = matchTargetOf(agent, record);
  const { environment, host, target } = match;
  const policy = effectivePolicy(file, match);
  const newestFirst = (await catalog.backups.list({ agentId, target }, RECENT)).map(({ summary }) => summary);
  const [newest] = newestFirst;
  const good = (await catalog.backups.newestGood({ agentId, target }))[0];
  const newestGood = good?.lastGood ?? null;
  const tested = good?.lastTested ?? null;
  const oldest = await catalog.backups.oldestGood(agentId, target);
  const attempts = await catalog.jobs.lastAttempts(agentId, target, WATCHED);
  const lastAttempt = lastBackupOf(attempts, newest);
  const verified = newestBy(
    newestFirst.filter((backup) => backup.verified !== null),
    ({ verified: verdict }) => instant(verdict?.at ?? ''),
  );
  const running = [...ledgers.ledger(agentId).jobs.values()].find(
    ({ spec, state }) => spec.command === 'backup' && spec.target === target && state === 'running',
  );
  const latest = (await catalog.occurrences.latest(agentId, nowMs)).filter((each) => each.target === target);
  return {
    agentId,
    match,
    policy,
    newestGood,
    lastBackup: lastAttempt,
    measurements: await measurementsOf(catalog, agent, record.inventory, newestGood),
    objectives: {
      ...{ environment, host, target },
      objectives: policy?.objectives ?? null,
      maxAgeMs: null,
      requireStream: policy?.requireStream ?? false,
      isReported: true,
      recoveryPoint: newestRecoveryPoint(newestGood, record.inventory),
      newestBackup:
        newest === undefined
          ? null
          : { backupId: newest.backupId, atMs: instant(newest.finishedAt), state: newest.state },
      firstBackupMs: oldest === undefined ? null : instant(oldest.finishedAt),
      lastAttemptMs: lastAttempt?.atMs ?? null,
      failedAttempts: failedOf(attempts),
      firstBackupDueMs: await catalog.occurrences.firstStart(agentId, target, 'backup'),
      streamState: streamStateOf(record.inventory),
      restoreTest: restoreTestOf(tested),
    },
    alerts: {
      newestGoodBackupMs: newestGood === null ? null : instant(newestGood.finishedAt),
      sizes: sizesOf(newestFirst),
      lastBackupDurationMs: newestGood === null ? null : instant(newestGood.finishedAt) - instant(newestGood.startedAt),
      runningSinceMs: running?.startedAt ?? null,
      lastAttempt,
      latestOccurrences: latest.map(({ name, dueAt, state }) => ({ schedule: name, dueMs: dueAt, state })),
      stream: streamFactsOf(record),
      lastVerification:
        verified?.verified == null
          ? null
          : { passed: verified.verified.passed, backupId: verified.backupId, level: verified.verified.level },
      lastTested: null,
    },
  };
}

/** The objectives' facts at this moment: with the state of the host and the restore time. */
export function factsNow(
  facts: CatalogFacts,
  hostState: TargetFacts['hostState'],
  measurements: readonly RestoreMeasurement[],
): TargetFacts {
  const { objectives, newestGood } = facts;
  const { engine } = facts.match;
  const { environment, host, target } = objectives;
  const method = newestGood?.method ?? '';
  const bytes = newestGood?.producedBytes ?? 0;
  const subject = { environment, host, target, engine, method, content: null, bytes };
  const restoreTime = newestGood === null ? { basis: 'unknown' as const } : restoreTimeOf(subject, measurements);
  return { ...objectives, hostState, restoreTime };
}
