import type { RestoreMeasurement } from '@lastgood/core/objectives';
import type { BackupSummary, TargetInventory } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Coverage } from '../catalog/backup-queries.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { BackupAttempt, LastAttempt, RestoredCopy, RestoreTime } from '../catalog/jobs.ts';

/** The commands whose failed last attempt is a reason for the state of a target. */
const WATCHED = ['backup', 'verify', 'rotate', 'copy'];

/** What the catalog knows of one target. */
export interface TargetRecords {
  readonly environment: string;
  readonly host: string;
  readonly inventory: TargetInventory;
  readonly coverage: readonly Coverage[];
  /** The restores and restore tests of the target. */
  readonly measurements: readonly RestoreMeasurement[];
  readonly copies: readonly RestoredCopy[];
  readonly firstSeen: ReadonlyMap<string, number>;
  /** The newest attempts to back up the target, the newest first. */
  readonly backupAttempts: readonly BackupAttempt[];
  /** The last attempt of each command whose failure counts. */
  readonly attempts: readonly LastAttempt[];
}

/** A restore test of a backup with one database measures the restore of that database; one of several measures none of them. */
function contentOf(time: RestoreTime, backup: BackupSummary | undefined): string | null {
  const [only, ...others] = backup?.contents ?? [];
  return time.database ?? (others.length === 0 ? (only?.name ?? null) : null);
}

/** Of a backup that was removed the size is not known, so it gives no speed. */
async function readMeasurements(
  { backups, jobs }: Catalog,
  agentId: string,
  place: Pick<RestoreMeasurement, 'environment' | 'host' | 'target' | 'engine'>,
  coverage: readonly Coverage[],
): Promise<RestoreMeasurement[]> {
  const times = await jobs.restoreTimes(agentId, place.target);
  const known = await backups.summaries(times.map(({ backupId }) => backupId));
  const method = coverage[0]?.newest.method ?? '';
  return times.map((time) => {
    const backup = known.get(time.backupId);
    const content = contentOf(time, backup);
    const bytes =
      content === null ? backup?.producedBytes : backup?.contents.find(({ name }) => name === content)?.bytes;
    return {
      ...place,
      method: backup?.method ?? method,
      content,
      bytes: bytes ?? 0,
      durationMs: time.durationMs,
      atMs: time.endedAt,
    };
  });
}

/** Reads what the state of a target follows from. */
export async function readTargetRecords(
  catalog: Catalog,
  { agentId, environment, host }: AgentRecord,
  inventory: TargetInventory,
): Promise<TargetRecords> {
  const { name, engine } = inventory;
  const coverage = await catalog.backups.coverage(agentId, name);
  return {
    environment,
    host,
    inventory,
    coverage,
    measurements: await readMeasurements(catalog, agentId, { environment, host, target: name, engine }, coverage),
    copies: await catalog.jobs.restoredCopies(agentId, name),
    firstSeen: await catalog.targets.firstSeen(agentId, name),
    backupAttempts: await catalog.jobs.backupAttempts(agentId, name),
    attempts: await catalog.jobs.lastAttempts(agentId, name, WATCHED),
  };
}
