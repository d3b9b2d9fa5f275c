import { newestRecoveryPoint, RESTORE_TEST_LEVEL, streamStateOf } from '@lastgood/core';
import type { BackupSize, TargetAlertFacts } from '@lastgood/core/alerts';
import { type EffectivePolicy, effectivePolicy, type FleetFile, type MatchTarget } from '@lastgood/core/fleet-file';
import { type RestoreMeasurement, restoreTimeOf, type TargetFacts } from '@lastgood/core/objectives';
import type { BackupSummary } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { TargetRecord } from '../catalog/inventory.ts';
import type { LastAttempt } from '../catalog/jobs.ts';
import type { OccurrenceRecord } from '../catalog/occurrences.ts';
import type { LedgerStore } from '../dispatch/ledger-store.ts';
import { matchTargetOf } from './fleet-targets.ts';
import type { MeasurementIndex } from './measurement-index.ts';

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

/** What the catalog has about one target. */
interface Records {
  readonly record: TargetRecord;
  readonly match: MatchTarget;
  readonly policy: EffectivePolicy | null;
  /** The newest first. */
  readonly backups: readonly BackupSummary[];
  readonly newestGood: BackupSummary | null;
  readonly newestTested: BackupSummary | null;
  readonly oldestGood: BackupSummary | undefined;
  readonly attempts: readonly LastAttempt[];
  readonly lastBackup: CatalogFacts['lastBackup'];
  readonly firstStart: number | null;
  readonly runningSince: number | null;
  readonly occurrences: readonly OccurrenceRecord[];
}

function objectivesFrom(records: Records): CatalogFacts['objectives'] {
  const { record, match, policy, backups, newestGood, newestTested, oldestGood, attempts, lastBackup, firstStart } =
    records;
  const [newest] = backups;
  const verdict = newestTested?.verified ?? null;
  return {
    ...{ environment: match.environment, host: match.host, target: match.target },
    objectives: policy?.objectives ?? null,
    maxAgeMs: null,
    requireStream: policy?.requireStream ?? false,
    isReported: true,
    recoveryPoint: newestRecoveryPoint(newestGood, record.inventory),
    newestBackup:
      newest === undefined
        ? null
        : { backupId: newest.backupId, atMs: instant(newest.finishedAt), state: newest.state },
    firstBackupMs: oldestGood === undefined ? null : instant(oldestGood.finishedAt),
    lastAttemptMs: lastBackup?.atMs ?? null,
    failedAttempts: failedOf(attempts),
    firstBackupDueMs: firstStart,
    streamState: streamStateOf(record.inventory),
    restoreTest:
      newestTested === null || verdict === null || verdict.level < RESTORE_TEST_LEVEL
        ? null
        : { atMs: instant(verdict.at), level: verdict.level, backupId: newestTested.backupId },
  };
}

function alertsFrom({
  record,
  backups,
  newestGood,
  lastBackup,
  runningSince,
  occurrences,
}: Records): CatalogFacts['alerts'] {
  const verifications = backups.flatMap(({ backupId, verified }) =>
    verified === null ? [] : [{ backupId, ...verified }],
  );
  const last = newestBy(verifications, ({ at }) => instant(at));
  return {
    newestGoodBackupMs: newestGood === null ? null : instant(newestGood.finishedAt),
    sizes: sizesOf(backups),
    lastBackupDurationMs: newestGood === null ? null : instant(newestGood.finishedAt) - instant(newestGood.startedAt),
    runningSinceMs: runningSince,
    lastAttempt: lastBackup,
    latestOccurrences: occurrences.map(({ name, dueAt, state }) => ({ schedule: name, dueMs: dueAt, state })),
    stream: streamFactsOf(record),
    lastVerification: last === undefined ? null : { passed: last.passed, backupId: last.backupId, level: last.level },
    lastTested: null,
  };
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
  const { target } = match;
  const backups = (await catalog.backups.list({ agentId, target }, RECENT)).map(({ summary }) => summary);
  const good = (await catalog.backups.newestGood({ agentId, target }))[0];
  const newestGood = good?.lastGood ?? null;
  const attempts = await catalog.jobs.lastAttempts(agentId, target, WATCHED);
  const running = [...ledgers.ledger(agentId).jobs.values()].find(
    ({ spec, state }) => spec.command === 'backup' && spec.target === target && state === 'running',
  );
  const records: Records = {
    ...{ record, match, backups, newestGood, attempts },
    policy: effectivePolicy(file, match),
    newestTested: good?.lastTested ?? null,
    oldestGood: await catalog.backups.oldestGood(agentId, target),
    lastBackup: lastBackupOf(attempts, backups[0]),
    firstStart: await catalog.occurrences.firstStart(agentId, target, 'backup'),
    runningSince: running?.startedAt ?? null,
    occurrences: (await catalog.occurrences.latest(agentId, nowMs)).filter((each) => each.target === target),
  };
  return {
    ...{ agentId, match, newestGood, policy: records.policy, lastBackup: records.lastBackup },
    measurements: await measurementsOf(catalog, agent, record.inventory, newestGood),
    objectives: objectivesFrom(records),
    alerts: alertsFrom(records),
  };
}

/** The objectives' facts at this moment: with the state of the host and the restore time. */
export function factsNow(
  facts: CatalogFacts,
  hostState: TargetFacts['hostState'],
  measurements: MeasurementIndex,
): TargetFacts {
  const { objectives, newestGood } = facts;
  const { engine } = facts.match;
  const { environment, host, target } = objectives;
  const method = newestGood?.method ?? '';
  const bytes = newestGood?.producedBytes ?? 0;
  const subject = { environment, host, target, engine, method, content: null, bytes };
  const restoreTime =
    newestGood === null ? { basis: 'unknown' as const } : restoreTimeOf(subject, measurements.relevantTo(subject));
  return { ...objectives, hostState, restoreTime };
}
