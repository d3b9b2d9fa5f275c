import { isHeldAfter, type PathSegment, reachFrom, segmentsOnPath } from '../wal/continuity.ts';
import type { Micros } from '../wal/instant.ts';
import { type Lsn, maxLsn, minLsn } from '../wal/lsn.ts';
import { segmentAt, segmentBefore, segmentStart } from '../wal/segment-name.ts';
import type { RestorePoint } from '../wal/segment-reader.ts';
import { isAncestor } from '../wal/timeline-history.ts';
import {
  type BackupRecord,
  contentKey,
  type RecoveryDecision,
  type RecoveryPlan,
  type RecoveryRefusal,
  type RecoverySource,
  type RecoveryStop,
  type RecoveryTarget,
} from './target.ts';

/** A commit gets its time a moment before its position: an observation does not cover the last second before it. */
const OBSERVATION_MARGIN: Micros = 1_000_000n;

const refuse = (refusal: RecoveryRefusal): RecoveryDecision => ({ kind: 'refusal', ...refusal });

/** A backup with the WAL that can be read from it on the way to a timeline. */
interface Base {
  readonly backup: BackupRecord;
  /** Without a hole, from the start of the backup. */
  readonly files: readonly PathSegment[];
  readonly endLsn: Lsn;
  /** Something is stored behind the end. */
  readonly hasGap: boolean;
}

/**
 * Chooses backup, timeline, WAL files and the stop of a recovery, or returns why the target cannot be reached. Nothing is left to
 * PostgreSQL's own choice: a target before the end of the backup, or WAL that is missing, ends with the wrong state and no error.
 * `timeline` null means the newest one.
 */
export function planRecovery(
  target: RecoveryTarget,
  timeline: number | null,
  source: RecoverySource,
): RecoveryDecision {
  const { holdings } = source;
  const chosen = timeline ?? Math.max(0, ...holdings.ranges.map((range) => range.timeline));
  if (source.backups.length === 0 || chosen === 0) return refuse({ code: 'no-backup' });
  if (!holdings.ranges.some((range) => range.timeline === chosen) || (chosen > 1 && !holdings.histories.has(chosen)))
    return refuse({ code: 'unknown-timeline', timeline: chosen });
  return new Planner(chosen, source).plan(target);
}

class Planner {
  readonly #timeline: number;
  readonly #source: RecoverySource;
  readonly #segmentBytes: number;
  /** The backups from which the timeline can be reached, newest first. */
  readonly #backups: readonly BackupRecord[];

  constructor(timeline: number, source: RecoverySource) {
    this.#timeline = timeline;
    this.#source = source;
    this.#segmentBytes = source.holdings.segmentBytes;
    const history = source.holdings.histories.get(timeline) ?? [];
    this.#backups = source.backups
      .filter((backup) => isAncestor(backup.timeline, backup.endLsn, timeline, history))
      .sort((a, b) => (a.endLsn < b.endLsn ? 1 : -1));
  }

  plan(target: RecoveryTarget): RecoveryDecision {
    switch (target.kind) {
      case 'time':
        return this.#toTime(target.at);
      case 'lsn':
        return this.#toLsn(target.lsn);
      case 'transaction':
        return this.#toRecord(target.lsn, { kind: 'transaction', xid: target.xid, lsn: target.lsn }, null);
      case 'name':
        return this.#toName(target.name);
      case 'latest':
        return this.#toLatest();
      case 'backup':
        return this.#toBackup(target.id);
    }
  }

  #toTime(at: Micros): RecoveryDecision {
    if (at > this.#source.now) return refuse({ code: 'in-future', now: this.#source.now });
    const base = this.#base((backup) => backup.finishedAt <= at);
    if ('kind' in base) return base;
    // PostgreSQL stops before the first commit that is later, in the order of the log.
    const index = base.files.findIndex((file) => (this.#content(file)?.latestXactAt ?? at) > at);
    if (index >= 0) return this.#stopIn(base, index, { kind: 'time', at }, at);
    const { observed } = this.#source;
    const wasIdle = observed !== null && observed.at - OBSERVATION_MARGIN >= at && observed.lsn <= base.endLsn;
    if (wasIdle) return this.#toEnd(base, at);
    return this.#beyond(base);
  }

  #toLsn(lsn: Lsn): RecoveryDecision {
    const base = this.#base((backup) => backup.endLsn <= lsn);
    if ('kind' in base) return base;
    if (lsn > base.endLsn) return this.#beyond(base);
    const last = this.#lastRecord(base);
    if (last === null || last < lsn) return this.#toEnd(base, null);
    // The first record at or after the position may begin in the next segment.
    const index = base.files.findIndex((file) => (this.#content(file)?.lastRecordLsn ?? -1n) >= lsn);
    return this.#stopIn(base, index, { kind: 'before-lsn', lsn }, null);
  }

  /** Stops at a record whose position is known. */
  #toRecord(lsn: Lsn, stop: RecoveryStop, at: Micros | null): RecoveryDecision {
    const base = this.#base((backup) => backup.endLsn <= lsn);
    if ('kind' in base) return base;
    const number = segmentAt(lsn, this.#segmentBytes);
    const index = base.files.findIndex((file) => file.number === number);
    return index < 0 ? this.#beyond(base) : this.#stopIn(base, index, stop, at);
  }

  #toName(name: string): RecoveryDecision {
    const points = new Map<Lsn, RestorePoint>();
    for (const backup of this.#backups)
      for (const file of this.#reach(backup)?.files ?? [])
        for (const point of this.#content(file)?.restorePoints ?? [])
          if (point.name === name && point.lsn >= backup.endLsn) points.set(point.lsn, point);
    const [point, another] = [...points.values()];
    if (point === undefined) return refuse({ code: 'unknown-name' });
    if (another !== undefined)
      return refuse({ code: 'ambiguous-name', points: [...points.values()].sort((a, b) => (a.lsn < b.lsn ? -1 : 1)) });
    return this.#toRecord(point.lsn, { kind: 'name', name, lsn: point.lsn }, point.at);
  }

  #toLatest(): RecoveryDecision {
    const base = this.#base(() => true);
    return 'kind' in base ? base : this.#toEnd(base, null);
  }

  #toBackup(id: string): RecoveryDecision {
    const backup = this.#backups.find((each) => each.id === id);
    if (backup === undefined) return refuse({ code: 'no-backup' });
    const base = this.#reach(backup);
    if (base === null) return refuse({ code: 'in-gap', lastAt: null, nextAt: null, missingFrom: backup.startLsn });
    const last = segmentBefore(backup.endLsn, this.#segmentBytes);
    const index = base.files.findIndex(({ number }) => number === last);
    return this.#planOf(base, index, { kind: 'immediate' }, backup.finishedAt, backup.endLsn, base.endLsn);
  }

  /** The newest backup that fits and whose own WAL is complete; a refusal when there is none. */
  #base(fits: (backup: BackupRecord) => boolean): Base | RecoveryDecision {
    const fitting = this.#backups.filter(fits);
    for (const backup of fitting) {
      const base = this.#reach(backup);
      if (base !== null) return base;
    }
    const [newest] = fitting;
    if (newest !== undefined) return this.#incomplete(newest);
    const oldest = this.#backups.at(-1);
    if (oldest === undefined) return refuse({ code: 'no-backup' });
    return refuse({ code: 'before-first-point', firstAt: oldest.finishedAt, firstLsn: oldest.endLsn });
  }

  #reach(backup: BackupRecord): Base | null {
    const { holdings } = this.#source;
    const reach = reachFrom(holdings, this.#timeline, backup.startLsn);
    if (reach === null) return null;
    const partial = holdings.partials.find(
      (each) => each.timeline === this.#timeline && each.number === reach.missing && reach.timeline === this.#timeline,
    );
    const last = partial === undefined ? reach.missing - 1 : reach.missing;
    const endLsn = partial?.endLsn ?? segmentStart(reach.missing, this.#segmentBytes);
    const files = segmentsOnPath(holdings, this.#timeline, backup.startLsn, last);
    if (files === null || endLsn < backup.endLsn) return null;
    return { backup, files, endLsn, hasGap: this.#isHeldAfter(reach.missing) };
  }

  #isHeldAfter(number: number): boolean {
    return isHeldAfter(this.#source.holdings, this.#timeline, number);
  }

  #incomplete({ startLsn }: BackupRecord): RecoveryDecision {
    const reach = reachFrom(this.#source.holdings, this.#timeline, startLsn);
    const missing = reach?.missing ?? segmentAt(startLsn, this.#segmentBytes);
    const missingFrom = segmentStart(missing, this.#segmentBytes);
    return this.#isHeldAfter(missing)
      ? refuse({ code: 'in-gap', lastAt: null, nextAt: this.#nextAfter(missingFrom), missingFrom })
      : refuse({ code: 'not-archived', lastAt: null, storedTo: missingFrom });
  }

  /** The target lies behind what can be read. */
  #beyond({ files, endLsn, hasGap, backup }: Base): RecoveryDecision {
    const times = files.flatMap((file) => this.#content(file)?.latestXactAt ?? []);
    const lastAt = times.reduce((latest, at) => (at > latest ? at : latest), backup.finishedAt);
    if (!hasGap) return refuse({ code: 'not-archived', lastAt, storedTo: endLsn });
    return refuse({ code: 'in-gap', lastAt, nextAt: this.#nextAfter(endLsn), missingFrom: endLsn });
  }

  /** The first instant behind a gap: the end of the next backup. */
  #nextAfter(lsn: Lsn): Micros | null {
    return this.#backups.findLast((backup) => backup.startLsn >= lsn)?.finishedAt ?? null;
  }

  #toEnd(base: Base, at: Micros | null): RecoveryDecision {
    const lastRecordLsn = this.#lastRecord(base);
    const isBackupEnd = lastRecordLsn === null || lastRecordLsn < base.backup.endLsn;
    const stop: RecoveryStop = isBackupEnd ? { kind: 'immediate' } : { kind: 'end', lastRecordLsn };
    const from = isBackupEnd ? base.backup.endLsn : lastRecordLsn;
    return this.#planOf(base, base.files.length - 1, stop, at, from, base.endLsn);
  }

  #lastRecord({ files }: Base): Lsn | null {
    for (const file of files.toReversed()) {
      const last = this.#content(file)?.lastRecordLsn ?? null;
      if (last !== null) return last;
    }
    return null;
  }

  /** The record of the stop begins in this file, and may end in the next one. */
  #stopIn(base: Base, index: number, stop: RecoveryStop, at: Micros | null): RecoveryDecision {
    const last = Math.min(index + 1, base.files.length - 1);
    const end = segmentStart((base.files[last]?.number ?? 0) + 1, this.#segmentBytes);
    // Everything of the files before is replayed.
    const before = base.files[index - 1];
    const passed = (before === undefined ? null : this.#content(before)?.lastRecordLsn) ?? base.backup.endLsn;
    const from = 'lsn' in stop && stop.kind !== 'before-lsn' ? stop.lsn : passed;
    return this.#planOf(base, last, stop, at, maxLsn(from, base.backup.endLsn), minLsn(end, base.endLsn));
  }

  #planOf(
    base: Base,
    lastIndex: number,
    stop: RecoveryStop,
    reachesAt: Micros | null,
    fromLsn: Lsn,
    endLsn: Lsn,
  ): RecoveryPlan {
    return {
      kind: 'plan',
      backupId: base.backup.id,
      timeline: this.#timeline,
      files: base.files.slice(0, lastIndex + 1),
      stop,
      reachesAt,
      fromLsn,
      endLsn,
      endsAtGap: base.hasGap && stop.kind === 'end',
    };
  }

  #content(file: PathSegment) {
    return this.#source.contents.get(contentKey(file));
  }
}
