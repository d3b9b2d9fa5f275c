import type { BackupSummary, Finding, Manifest, Restorable, TargetRef } from '@lastgood/protocol';
import type { ArtifactSink, ArtifactSource, BackupFacts, EngineContext } from './engine.ts';
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
  /** Removes everything of an unpublished backup; what a failing disk does not let go is left to the sweep, and nothing is thrown. */
  abandon(): Promise<void>;
}
/** Why a backup is not to be removed. `by` and `at` are null when the hold is there and cannot be read. */
export interface Hold {
  readonly reason: string;
  readonly by: string | null;
  readonly at: string | null;
}
export interface StoredBackup {
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly verified: BackupSummary['verified'];
  readonly held: Hold | null;
  /** Whether this version can restore it. A backup that it cannot restore is listed, and never removed. */
  readonly restorable: Restorable;
  /** What is wrong beside the backup, such as a verdict that cannot be read; it joins the warnings of its summary. */
  readonly remark?: string;
}
/** One repository. Names typed by people are schema-checked words; every path below is made by us and never follows a symlink. */
export interface Repository {
  readonly id: string;
  /** Mount check, marker, owner and modes. Throws REPOSITORY_NOT_MOUNTED, REPOSITORY_UNSAFE. Called before each job. */
  check(): Promise<void>;
  /** Null when the store has no limit. */
  freeBytes(): Promise<number | null>;
  /** Refuses REPOSITORY_FOREIGN when the target's folder belongs to another system id, or is written by another installation: so does all that changes it. `run` stops the read-back, and hears how far it is. */
  begin(backup: NewBackup, systemId: string, run?: Pick<EngineContext, 'signal' | 'progress'>): Promise<BackupWriter>;
  /** `backups` have a manifest and every object it lists, by name, kind and size; whatever else is there is `broken`, and says why. */
  list(ref: TargetRef): Promise<{ backups: StoredBackup[]; broken: { backupId: string; reason: string }[] }>;
  read(ref: TargetRef, backupId: string): Promise<StoredBackup>;
  open(ref: TargetRef, backupId: string): Promise<ArtifactSource>;
  /**
   * Levels 0 and 1: present with the right sizes; stored bytes re-read and hashed; names object and 1 MiB block of damage when it can.
   * `remark` hears what is no finding, and yet lessens what the answer is worth.
   */
  verify(
    ref: TargetRef,
    backupId: string,
    level: 0 | 1,
    signal: AbortSignal,
    progress: (doneBytes: number) => void,
    remark?: (text: string) => void,
  ): Promise<readonly Finding[]>;
  /** Keeps the verdict of a verification beside the backup (verified.json), outside the manifest. */
  recordVerified(ref: TargetRef, backupId: string, verdict: NonNullable<BackupSummary['verified']>): Promise<void>;
  /** Keeps a backup from being removed until it is released. False when it is held already: the first hold stays. */
  hold(ref: TargetRef, backupId: string, hold: { reason: string; by: string; at: string }): Promise<boolean>;
  /** False when the backup was not held. */
  release(ref: TargetRef, backupId: string): Promise<boolean>;
  /**
   * Hides a backup behind a tombstone, and returns the bytes that its purge will free. Refuses BACKUP_HELD, BACKUP_NEEDED (another
   * backup that is kept depends on it) and NEWER_FORMAT.
   */
  remove(ref: TargetRef, backupId: string, now: number): Promise<number>;
  /**
   * Removes the bytes of backups that were removed longer ago than the grace: manifest first, then only the objects that it listed,
   * then the tombstone. Never of a held backup. What cannot be removed stops no other; it is thrown at the end.
   */
  purge(ref: TargetRef, now: number, graceMs: number): Promise<number>;
  /** Removes what unpublished backups left behind that no live job owns. */
  sweep(ref: TargetRef, liveBackupIds: ReadonlySet<string>): Promise<readonly string[]>;
  /** A log stream of a target. Throws BAD_INPUT for what is not the id of one. */
  log(ref: TargetRef, streamId: string): SegmentLog;
  /** The store's own clock: modification time of a marker just written. */
  storeNow(): Promise<number>;
  /** Throws REPOSITORY_FOREIGN when a backup of this system from here would be refused. */
  checkOwner(ref: TargetRef, systemId: string): Promise<void>;
  /** Takes the target's folder from whoever writes there, for the next backup to make it its own; false when nobody did. */
  disown(ref: TargetRef): Promise<boolean>;
  /** The ids of backups that were removed and whose grace is not over. */
  removed(ref: TargetRef): Promise<string[]>;
}
