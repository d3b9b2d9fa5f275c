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
  /** Removes everything of an unpublished backup. Never throws: what a failing store does not remove is left to the sweep. */
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
  /** A problem that does not affect the backup itself, such as a verdict that cannot be read. It joins the warnings of its summary. */
  readonly remark?: string;
}
/** One repository. Environment, host and target are checked by their schema; all other names are made by us. */
export interface Repository {
  readonly id: string;
  /** Checks the store and the marker. Throws REPOSITORY_NOT_MOUNTED, REPOSITORY_UNSAFE. Called before each job. */
  check(): Promise<void>;
  /** Bytes that can still be stored. Null when the store has no limit. */
  freeBytes(): Promise<number | null>;
  /**
   * Begins a backup, and makes this installation the writer of the target. Throws REPOSITORY_FOREIGN when the target holds backups of
   * another system or has another writer; so does every other method that changes a target. `run` stops the read-back and receives
   * its progress.
   */
  begin(backup: NewBackup, systemId: string, run?: Pick<EngineContext, 'signal' | 'progress'>): Promise<BackupWriter>;
  /** `backups` have a manifest and every object that it lists, with the right size, oldest first. Anything else is `broken`, with the reason. */
  list(ref: TargetRef): Promise<{ backups: StoredBackup[]; broken: { backupId: string; reason: string }[] }>;
  /** NOT_FOUND when there is no manifest. Does not check whether objects and dependencies are there: `list` does. */
  read(ref: TargetRef, backupId: string): Promise<StoredBackup>;
  /** Throws NEWER_FORMAT for a backup that this version cannot restore. */
  open(ref: TargetRef, backupId: string): Promise<ArtifactSource>;
  /**
   * Level 0: every object is present with the right size. Level 1: the stored bytes are re-read and hashed; a finding names the 1 MiB
   * block of the damage if the decoder can tell. `remark` receives what limits the result without being a finding.
   */
  verify(
    ref: TargetRef,
    backupId: string,
    level: 0 | 1,
    signal: AbortSignal,
    progress: (doneBytes: number) => void,
    remark?: (text: string) => void,
  ): Promise<readonly Finding[]>;
  /** Stores the verdict of a verification beside the manifest (verified.json). */
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
  /** Removes what interrupted backups left behind, except those of live jobs. Returns the ids of which nothing is left. */
  sweep(ref: TargetRef, liveBackupIds: ReadonlySet<string>): Promise<readonly string[]>;
  /** A log stream of a target. Throws BAD_INPUT for what is not the id of one. */
  log(ref: TargetRef, streamId: string): SegmentLog;
  /** The time by the clock of the store, in ms since the epoch. */
  storeNow(): Promise<number>;
  /** Throws REPOSITORY_FOREIGN when `begin` would. */
  checkOwner(ref: TargetRef, systemId: string): Promise<void>;
  /** Removes the owner of a target, so that the next backup becomes its owner. False when it had none. */
  disown(ref: TargetRef): Promise<boolean>;
  /** The ids of the backups that were removed and not purged yet. */
  removed(ref: TargetRef): Promise<string[]>;
}
