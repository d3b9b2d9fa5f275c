import { streamStateOf } from '@lastgood/core';
import type { BackupSize, TargetAlertFacts } from '@lastgood/core/alerts';
import { type EffectivePolicy, effectivePolicy, type FleetFile, type MatchTarget } from '@lastgood/core/fleet-file';
import { evaluateTarget, type SharedFacts, type TargetStatus } from '@lastgood/core/objectives';
import type { BackupSummary } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { TargetRecord } from '../catalog/inventory.ts';
import type { LastAttempt } from '../catalog/jobs.ts';
import type { OccurrenceRecord } from '../catalog/occurrences.ts';
import type { LedgerStore } from '../dispatch/ledger-store.ts';
import { databaseFacts } from '../targets/database-facts.ts';
import type { Measurements } from '../targets/measurement-index.ts';
import { demandsOf, sharedFactsOf } from '../targets/shared-facts.ts';
import { readTargetRecords, type TargetRecords } from '../targets/target-records.ts';
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
  readonly records: TargetRecords;
  /** The latest start of its first scheduled backup; null without a schedule. */
  readonly firstBackupDueMs: number | null;
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

/** The last attempt to take a backup. One that the catalog knows by its backup alone has succeeded. */
function lastBackupOf(attempts: readonly LastAttempt[], newest: BackupSummary | undefined): CatalogFacts['lastBackup'] {
  const attempt = attempts.find(({ command }) => command === 'backup');
  const backupAt = newest === undefined ? Number.NEGATIVE_INFINITY : instant(newest.finishedAt);
  if (attempt === undefined || attempt.at <= backupAt)
    return newest === undefined ? null : { atMs: backupAt, succeeded: true, code: null };
  return { atMs: attempt.at, succeeded: attempt.succeeded, code: attempt.cause };
}

/** How far the stored log was behind when it was reported. A gap counts until a later backup has opened a window behind it. */
function streamFactsOf({ inventory, seenAt }: TargetRecord): TargetAlertFacts['stream'] {
  const { stream } = inventory;
  if (stream === undefined) return null;
  const lagMs = stream.storedUntil === null ? null : Math.max(0, seenAt - instant(stream.storedUntil));
  return { lagMs, gaps: streamStateOf(inventory) === 'gap' ? stream.gaps.length : 0 };
}

/** What the alerts of a target follow from. */
interface AlertRecords {
  readonly record: TargetRecord;
  /** The newest first. */
  readonly backups: readonly BackupSummary[];
  readonly newestGood: BackupSummary | null;
  readonly lastBackup: CatalogFacts['lastBackup'];
  readonly runningSince: number | null;
  readonly occurrences: readonly OccurrenceRecord[];
}

function alertsFrom({
  record,
  backups,
  newestGood,
  lastBackup,
  runningSince,
  occurrences,
}: AlertRecords): CatalogFacts['alerts'] {
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
  const records = await readTargetRecords(catalog, agent, record.inventory);
  const backups = (await catalog.backups.list({ agentId, target }, RECENT)).map(({ summary }) => summary);
  const newestGood = (await catalog.backups.newestGood({ agentId, target }))[0]?.lastGood ?? null;
  const running = [...ledgers.ledger(agentId).jobs.values()].find(
    ({ spec, state }) => spec.command === 'backup' && spec.target === target && state === 'running',
  );
  const lastBackup = lastBackupOf(records.attempts, backups[0]);
  const occurrences = (await catalog.occurrences.latest(agentId, nowMs)).filter((each) => each.target === target);
  return {
    ...{ agentId, match, records, newestGood, lastBackup },
    policy: effectivePolicy(file, match),
    firstBackupDueMs: await catalog.occurrences.firstStart(agentId, target, 'backup'),
    alerts: alertsFrom({
      ...{ record, backups, newestGood, lastBackup, occurrences },
      runningSince: running?.startedAt ?? null,
    }),
  };
}

/** The state of a target at this moment, as `status` computes it. */
export function statusNow(
  { records, policy, firstBackupDueMs }: CatalogFacts,
  hostState: SharedFacts['hostState'],
  measurements: Measurements,
  nowMs: number,
): TargetStatus {
  const demands = demandsOf(policy, firstBackupDueMs);
  return evaluateTarget(sharedFactsOf(records, demands, hostState), databaseFacts(records, measurements), nowMs);
}
