import type {
  BackupSummary,
  Finding,
  Hold,
  Manifest,
  Restorable,
  TargetRef,
  VerificationFinding,
  WireError,
} from '@lastgood/protocol';
import type { ArtifactSink, ArtifactSource, BackupFacts } from './artifact.ts';
import type { EngineContext } from './engine-context.ts';
import type { SegmentLog } from './segment-log.ts';

export interface NewBackup {
  readonly ref: TargetRef;
  readonly backupId: string;
  readonly jobId: string;
  readonly attempt: number;
  readonly engine: string;
  readonly startedAt: string;
  readonly lastgoodVersion: string;
}
export interface BackupWriter extends ArtifactSink {
  /** Writes the manifest last; from then on the backup exists. Returns the manifest as read back. */
  publish(facts: BackupFacts, finishedAt: string): Promise<{ manifest: Manifest; manifestSha256: string }>;
  /** Removes an unpublished backup. Never throws: what cannot be removed now is left to the sweep. */
  abandon(): Promise<void>;
}
export interface StoredBackup {
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly verified: BackupSummary['verified'];
  readonly held: Hold | null;
  /** Whether this version can restore it. A backup that it cannot restore is listed, and never removed. */
  readonly restorable: Restorable;
  /** What is wrong beside the backup, such as a verdict that cannot be read; it joins the warnings of its summary. */
  readonly remark?: Finding;
}
/** A backup that cannot be relied on, with the failure that reading it ended with. */
export interface BrokenBackup {
  readonly backupId: string;
  readonly error: WireError;
  /** It was removed by a rotation, and its bytes were never purged. */
  readonly removed: boolean;
}
/** A removed backup that the store does not remove yet. */
export interface LockedBackup {
  readonly backupId: string;
  /** In ms since the epoch, by the clock of the store. */
  readonly until: number;
}
/** What copying a backup has done. */
export interface CopiedBackup {
  /** False when the backup was there already. */
  readonly isNew: boolean;
  readonly copiedBytes: number;
}
/** The segments of a log stream that are copied: from one on, and those that `isKept` accepts, such as timeline histories. */
export interface LogRangeToCopy {
  readonly streamId: string;
  readonly from: string;
  readonly isKept?: (segment: string) => boolean;
}
/** Reads the backups and log streams of one target. */
export interface RecoverySource {
  list(): Promise<{ readonly backups: readonly StoredBackup[]; readonly broken: readonly BrokenBackup[] }>;
  /** Throws NOT_FOUND, or NEWER_FORMAT for a backup that this version cannot restore. */
  open(backupId: string): Promise<ArtifactSource>;
  /** Throws BAD_INPUT when `streamId` is not valid. */
  log(streamId: string): Pick<SegmentLog, 'read' | 'list'>;
}
/** One repository. Names from users are validated against a schema; paths are generated and never follow a symbolic link. */
export interface Repository {
  readonly id: string;
  /** Checks mount, marker, owner and modes before each job. Throws REPOSITORY_NOT_MOUNTED or REPOSITORY_UNSAFE. */
  check(): Promise<void>;
  /** Bytes that can still be stored. Null when the store has no limit. */
  freeBytes(): Promise<number | null>;
  /**
   * Starts a backup. This and every other change throws REPOSITORY_FOREIGN when the target's folder belongs to another system id or
   * another installation writes to it. `run` cancels the read-back and receives its progress.
   */
  begin(backup: NewBackup, systemId: string, run?: Pick<EngineContext, 'signal' | 'progress'>): Promise<BackupWriter>;
  /** `backups` have a manifest and every object it lists, by name, kind and size; whatever else is there is `broken`, and says why. */
  list(ref: TargetRef): Promise<{ backups: StoredBackup[]; broken: BrokenBackup[] }>;
  read(ref: TargetRef, backupId: string): Promise<StoredBackup>;
  /** Throws NEWER_FORMAT for a backup that this version cannot restore. */
  open(ref: TargetRef, backupId: string): Promise<ArtifactSource>;
  /**
   * Level 0 checks presence and sizes; level 1 also re-reads and hashes the stored bytes. Findings name the object and, where possible,
   * the damaged 1 MiB block. `remark` receives what limits the result without being a finding, such as a read from the page cache.
   */
  verify(
    ref: TargetRef,
    backupId: string,
    level: 0 | 1,
    signal: AbortSignal,
    progress: (doneBytes: number) => void,
    remark?: (text: string) => void,
  ): Promise<readonly VerificationFinding[]>;
  /** Keeps the verdict of a verification beside the backup (verified.json), outside the manifest. */
  recordVerified(ref: TargetRef, backupId: string, verdict: NonNullable<BackupSummary['verified']>): Promise<void>;
  /** Protects a backup from removal until it is released. Returns false when it is already held: the first hold stays. */
  hold(ref: TargetRef, backupId: string, hold: { reason: string; by: string; at: string }): Promise<boolean>;
  /** Releases a hold. Returns false when the backup was not held. */
  release(ref: TargetRef, backupId: string): Promise<boolean>;
  /**
   * Marks a backup as removed with a tombstone and returns the bytes that its purge will free. Throws BACKUP_HELD, BACKUP_NEEDED
   * (another backup depends on it) or NEWER_FORMAT.
   */
  remove(ref: TargetRef, backupId: string, now: number): Promise<number>;
  /**
   * Deletes the data of backups whose grace period is over: the manifest first, then the objects that it lists, then the tombstone.
   * Skips held backups and those that the store has locked. A failure does not stop the other deletions; its error is thrown at the end.
   */
  purge(ref: TargetRef, now: number, graceMs: number): Promise<number>;
  /** The removed backups whose grace period is over, and that the store keeps until their locks end; the first one to end first. */
  locked(ref: TargetRef, now: number, graceMs: number): Promise<readonly LockedBackup[]>;
  /**
   * Copies a backup into another repository and reads it back there. Objects and manifest keep their bytes. A copy that was interrupted is
   * continued, and one that lost objects is completed. Throws BACKUP_CORRUPT when this repository does not have the right bytes, and CONFLICT
   * when the destination has removed the backup.
   */
  copyTo(
    destination: Repository,
    ref: TargetRef,
    backupId: string,
    run: Pick<EngineContext, 'signal' | 'progress'>,
  ): Promise<CopiedBackup>;
  /** Copies the segments of a log stream, from one on, that the other repository lacks. Returns their number. */
  copyLog(
    destination: Repository,
    ref: TargetRef,
    range: LogRangeToCopy,
    run: Pick<EngineContext, 'signal' | 'progress'>,
  ): Promise<number>;
  /**
   * Removes the leftovers of unpublished backups, except those of running jobs. Objects of copies in `resumable` stay: the next copy needs
   * them.
   */
  sweep(
    ref: TargetRef,
    liveBackupIds: ReadonlySet<string>,
    resumable?: ReadonlySet<string>,
  ): Promise<readonly string[]>;
  /** Returns a log stream of a target. Throws BAD_INPUT when `streamId` is not valid. */
  log(ref: TargetRef, streamId: string): SegmentLog;
  /** The time by the store's own clock. */
  storeNow(): Promise<number>;
  /** Throws REPOSITORY_FOREIGN when this installation may not back up this system here. */
  checkOwner(ref: TargetRef, systemId: string): Promise<void>;
  /** Removes the owner of the target's folder; the next backup becomes its owner. Returns false when it had none. */
  disown(ref: TargetRef): Promise<boolean>;
  /** The ids of removed backups whose grace period is not over. */
  removed(ref: TargetRef): Promise<string[]>;
}
