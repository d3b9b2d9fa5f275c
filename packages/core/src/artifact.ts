import type { Readable, Writable } from 'node:stream';
import type { BackupContent, Finding, LogRange, Manifest, ManifestObject } from '@lastgood/protocol';
import type { SegmentLog } from './segment-log.ts';

export interface ArtifactMeta {
  readonly role: string;
  /** The name of the database (or other content) that the artifact belongs to; null when it belongs to all of them. */
  readonly contents: string | null;
  readonly extension: string;
}
/**
 * Stores the artifacts of a backup. `write` streams into the sink and resolves when the tool succeeded. Before `add` resolves, the
 * artifact is flushed, hashed, stored durably and read back. When `write` rejects, nothing of the artifact remains.
 */
export interface ArtifactSink {
  add(meta: ArtifactMeta, write: (sink: Writable) => Promise<void>): Promise<ManifestObject>;
  /** A log stream of the target, for the segments that the backup needs. They stay when the backup is abandoned. */
  log(streamId: string): SegmentLog;
}
/** Returns objects as the tool produced them. A stream fails with BACKUP_CORRUPT at its end when its bytes do not match the manifest. */
export interface ArtifactSource {
  readonly manifest: Manifest;
  open(object: ManifestObject, signal: AbortSignal): Readable;
  /** A log stream of the target, for the segments that the backup needs. */
  log(streamId: string): Pick<SegmentLog, 'read' | 'list'>;
}
export interface BackupFacts {
  readonly method: string;
  /** The instant a restore brings back. */
  readonly recoveryPoint: string;
  readonly contents: readonly BackupContent[];
  /** The backups that a restore reads besides this one. */
  readonly dependsOn: readonly string[];
  /** The log segments that a restore needs to reach the recovery point. */
  readonly logRange: LogRange | null;
  readonly tool: Manifest['tool'];
  readonly server: Manifest['server'];
  readonly engineFacts: Manifest['engineFacts'];
  readonly warnings: readonly Finding[];
}
