import { type EngineContext, Failure, type RecoverySource as RepositorySource } from '@lastgood/core';
import type { Manifest, RestoreRequest } from '@lastgood/protocol';
import { PHYSICAL } from '../backup-methods.ts';
import { backupRecordOf, physicalFactsOf } from '../physical/physical-facts.ts';
import { type PathSegment, reachFrom, segmentsOnPath } from '../wal/continuity.ts';
import { formatInstant, type Micros, microsOfMs, parseInstant } from '../wal/instant.ts';
import { formatLsn, isLsn, type Lsn, parseLsn } from '../wal/lsn.ts';
import { segmentAt } from '../wal/segment-name.ts';
import type { OpenRecord } from '../wal/segment-reader.ts';
import { StoredWal } from '../wal/stored-wal.ts';
import { BACKUP_WAL_STREAM, WAL_STREAM } from '../wal/streams.ts';
import { isAncestor } from '../wal/timeline-history.ts';
import { planRecovery } from './plan.ts';
import type {
  BackupRecord,
  RecoveryPlan,
  RecoveryRefusal,
  RecoverySource,
  RecoveryTarget,
  StoredContent,
} from './target.ts';

type Point = RestoreRequest['point'];

/** The physical backups of one cluster, with all of its WAL that is stored. */
export interface StoredCluster {
  readonly manifests: ReadonlyMap<string, Manifest>;
  readonly backups: readonly BackupRecord[];
  readonly stored: StoredWal;
}
/** A recovery that was planned, with what it reads. */
export interface PlannedPoint {
  readonly plan: RecoveryPlan;
  readonly manifest: Manifest;
  readonly stored: StoredWal;
  /** The instant that the recovery will reach; the last one that is known when it goes as far as it can. */
  readonly reaches: Micros;
}
/** The clock and the end of WAL of the server, when both were last read together. */
export type Observed = RecoverySource['observed'];

/**
 * Reads the physical backups of the newest cluster in the repository, or of the cluster of one backup, and lists its WAL. Null when there is
 * no such backup. A backup that failed a verification is left out unless it was named.
 */
export async function readCluster(
  source: RepositorySource,
  named: string | null,
  signal: AbortSignal,
): Promise<StoredCluster | null> {
  const { backups } = await source.list();
  const physical = backups
    .filter(({ manifest, restorable }) => manifest.method === PHYSICAL.method && restorable.ok)
    .filter(({ manifest, verified }) => verified?.passed !== false || manifest.backupId === named)
    .map(({ manifest }) => manifest);
  const chosen =
    named === null
      ? physical.toSorted((a, b) => b.sequence - a.sequence)[0]
      : physical.find(({ backupId }) => backupId === named);
  if (chosen === undefined) return null;
  const { systemId } = chosen.server;
  const { segmentBytes, majorVersion } = physicalFactsOf(chosen);
  const own = physical.filter((manifest) => {
    const facts = physicalFactsOf(manifest);
    return (
      manifest.server.systemId === systemId &&
      facts.segmentBytes === segmentBytes &&
      facts.majorVersion === majorVersion
    );
  });
  const logs = [source.log(WAL_STREAM), source.log(BACKUP_WAL_STREAM)];
  return {
    manifests: new Map(own.map((manifest) => [manifest.backupId, manifest])),
    backups: own.map(backupRecordOf),
    stored: await StoredWal.open(logs, { systemId, segmentBytes, majorVersion }, signal),
  };
}

/** The WAL that can be read from one backup on the way to a timeline, without a hole; null when its own WAL is incomplete. */
export function filesFrom(
  { startLsn }: BackupRecord,
  timeline: number,
  { holdings }: StoredWal,
): readonly PathSegment[] | null {
  const reach = reachFrom(holdings, timeline, startLsn);
  if (reach === null) return null;
  const hasPartial =
    reach.timeline === timeline &&
    holdings.partials.some((each) => each.timeline === timeline && each.number === reach.missing);
  const last = hasPartial ? reach.missing : reach.missing - 1;
  return last < segmentAt(startLsn, holdings.segmentBytes) ? null : segmentsOnPath(holdings, timeline, startLsn, last);
}

/** What planning needs to know of the stored segments for a target. Reads no more than it must. */
async function readContents(
  target: RecoveryTarget,
  timeline: number,
  { backups, stored }: StoredCluster,
): Promise<ReadonlyMap<string, StoredContent>> {
  const { holdings } = stored;
  const history = holdings.histories.get(timeline) ?? [];
  const newestFirst = backups
    .filter((backup) => isAncestor(backup.timeline, backup.endLsn, timeline, history))
    .toSorted((a, b) => (a.endLsn < b.endLsn ? 1 : -1));
  const filesOf = (fits: (backup: BackupRecord) => boolean): readonly PathSegment[] => {
    for (const backup of newestFirst.filter(fits)) {
      const files = filesFrom(backup, timeline, stored);
      if (files !== null) return files;
    }
    return [];
  };
  switch (target.kind) {
    case 'backup':
      return new Map();
    case 'time':
      return await stored.contents(
        filesOf(({ finishedAt }) => finishedAt <= target.at),
        ({ latestXactAt }) => latestXactAt !== null && latestXactAt > target.at,
      );
    case 'latest':
      return await stored.contentsFromEnd(
        filesOf(() => true),
        ({ lastRecordLsn, latestXactAt }) => lastRecordLsn !== null && latestXactAt !== null,
      );
    case 'lsn':
    case 'transaction': {
      const first = segmentAt(target.lsn, holdings.segmentBytes) - 1;
      const files = filesOf(({ endLsn }) => endLsn <= target.lsn).filter(({ number }) => number >= first);
      return await stored.contents(files, ({ lastRecordLsn }) => lastRecordLsn !== null && lastRecordLsn >= target.lsn);
    }
    case 'name': {
      const all = new Map<string, StoredContent>();
      for (const backup of newestFirst)
        for (const [key, content] of await stored.contents(filesFrom(backup, timeline, stored) ?? [], () => false))
          all.set(key, content);
      return all;
    }
  }
}

/** Where the commit of a transaction begins, in any of the stored WAL. Throws POINT_UNREACHABLE. */
async function findCommit(xid: string, { stored }: StoredCluster): Promise<Lsn> {
  if (!/^\d{1,20}$/.test(xid)) throw new Failure('BAD_INPUT', `not a transaction id: "${xid}"`);
  let previous: { readonly number: number; readonly openRecord: OpenRecord | null } | null = null;
  for (const { timeline, first, last } of stored.holdings.ranges)
    for (let number = first; number <= last; number += 1) {
      const open: OpenRecord | null = previous?.number === number - 1 ? previous.openRecord : null;
      const { lsn, openRecord } = await stored.commitOf(xid, { timeline, number, isPartial: false }, open);
      if (lsn !== null) return lsn;
      previous = { number, openRecord };
    }
  throw new Failure('POINT_UNREACHABLE', `no stored WAL holds the commit of transaction ${xid}`);
}

async function targetOf(point: Point, cluster: StoredCluster): Promise<RecoveryTarget> {
  switch (point.kind) {
    case 'backup':
      return { kind: 'backup', id: point.backupId };
    case 'time': {
      const parsed = parseInstant(point.time);
      if (parsed.kind !== 'instant') throw new Failure('BAD_INPUT', `not an instant with its offset: "${point.time}"`);
      return { kind: 'time', at: parsed.instant };
    }
    case 'position':
      if (!isLsn(point.position)) throw new Failure('BAD_INPUT', `not a WAL position: "${point.position}"`);
      return { kind: 'lsn', lsn: parseLsn(point.position) };
    case 'transaction':
      return { kind: 'transaction', xid: point.transaction, lsn: await findCommit(point.transaction, cluster) };
    case 'name':
      return { kind: 'name', name: point.name };
    case 'latest':
      return { kind: 'latest' };
  }
}

const since = (at: Micros | null): string => (at === null ? '' : `; the last instant before is ${formatInstant(at)}`);

/** The failure of a point that cannot be reached, with the nearest instants that can. */
function unreachable(refusal: RecoveryRefusal): Failure {
  const fail = (message: string, remedy?: string): Failure =>
    new Failure('POINT_UNREACHABLE', message, remedy === undefined ? {} : { remedy });
  switch (refusal.code) {
    case 'no-backup':
      return fail(
        'no physical backup of the target can reach this point',
        'Take one: lastgood backup TARGET --method physical.',
      );
    case 'unknown-timeline':
      return fail(`the repository does not hold timeline ${refusal.timeline}`);
    case 'in-future':
      return fail(`the instant is in the future: it is ${formatInstant(refusal.now)} on the host`);
    case 'before-first-point':
      return fail(
        `the instant is before the end of the oldest backup, ${formatInstant(refusal.firstAt)}`,
        'Choose that instant or a later one.',
      );
    case 'in-gap': {
      const next = refusal.nextAt === null ? '' : `, the first after it is ${formatInstant(refusal.nextAt)}`;
      return fail(`WAL is missing from ${formatLsn(refusal.missingFrom)} on${since(refusal.lastAt)}${next}`);
    }
    case 'not-archived':
      return fail(
        `the WAL of this point is not stored yet: it is stored up to ${formatLsn(refusal.storedTo)}${since(refusal.lastAt)}`,
        'Wait until the stream has stored it, or choose an earlier instant. It never gets there when the server stayed idle or was lost.',
      );
    case 'unknown-name':
      return fail('no restore point has this name in the stored WAL');
    case 'ambiguous-name':
      return fail(
        `several restore points have this name: ${refusal.points.map(({ lsn, at }) => `${formatLsn(lsn)} (${formatInstant(at)})`).join(', ')}`,
        'Choose one by its position.',
      );
  }
}

/** The latest commit time among contents; the end of the backup without one. */
function lastInstant(contents: Iterable<StoredContent>, finishedAt: Micros): Micros {
  let last = finishedAt;
  for (const { latestXactAt } of contents) if (latestXactAt !== null && latestXactAt > last) last = latestXactAt;
  return last;
}

/** Plans the recovery to a point. Throws POINT_UNREACHABLE with the nearest instants, or NOT_FOUND for a backup that is not there. */
export async function planPoint(
  point: Point,
  source: RepositorySource,
  observed: Observed,
  context: EngineContext,
): Promise<PlannedPoint> {
  const named = point.kind === 'backup' ? point.backupId : null;
  const cluster = await readCluster(source, named, context.signal);
  if (cluster === null && named !== null)
    throw new Failure('NOT_FOUND', `backup ${named} is not a physical backup of this target`);
  if (cluster === null) throw unreachable({ code: 'no-backup' });
  const { backups, stored, manifests } = cluster;
  const target = await targetOf(point, cluster);
  const own = target.kind === 'backup' ? backups.find(({ id }) => id === target.id)?.timeline : undefined;
  const timeline = own ?? Math.max(1, ...stored.holdings.ranges.map((range) => range.timeline));
  const contents = await readContents(target, timeline, cluster);
  const decision = planRecovery(target, timeline, {
    holdings: stored.holdings,
    backups,
    contents,
    observed,
    now: microsOfMs(context.clock.now()),
  });
  if (decision.kind === 'refusal') throw unreachable(decision);
  const manifest = manifests.get(decision.backupId);
  const backup = backups.find(({ id }) => id === decision.backupId);
  if (manifest === undefined || backup === undefined) throw unreachable({ code: 'no-backup' });
  return {
    plan: decision,
    manifest,
    stored,
    reaches: decision.reachesAt ?? lastInstant(contents.values(), backup.finishedAt),
  };
}
