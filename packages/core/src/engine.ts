import type { Readable, Writable } from 'node:stream';
import type {
  BackupContent,
  Finding,
  JobResult,
  LogRange,
  Manifest,
  ManifestObject,
  RestoreMode,
  RestorePlanSummary,
  TargetInventory,
  VerificationLevel,
} from '@lastgood/protocol';
import type { z } from 'zod';

/** Gives wall time (ms since the epoch) and monotonic time (ms). */
export interface Clock {
  now(): number;
  monotonic(): number;
}
export interface JobProgress {
  readonly phase: string;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
}
/** What a driver gets for one call. `workDir` is private (0700) and removed by the caller afterwards. */
export interface EngineContext {
  readonly workDir: string;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  progress(progress: JobProgress): void;
  log(message: string): void;
}
export interface ArtifactMeta {
  readonly role: string;
  /** The name of the one of the backup's contents that it belongs to; null when it belongs to all. */
  readonly contents: string | null;
  readonly extension: string;
}
/**
 * Takes artifacts of a backup. `write` streams into the sink and resolves when the tool ended well; the sink is flushed, hashed,
 * stored durably and read back before `add` resolves. When `write` rejects, nothing of the artifact remains.
 */
export interface ArtifactSink {
  add(meta: ArtifactMeta, write: (sink: Writable) => Promise<void>): Promise<ManifestObject>;
}
/** Gives back the bytes as produced, checked against the manifest: the stream errors with BACKUP_CORRUPT at its end if they differ. */
export interface ArtifactSource {
  readonly manifest: Manifest;
  open(object: ManifestObject, signal: AbortSignal): Readable;
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
  readonly warnings: readonly string[];
}
/** A backup method of an engine with the roles of its objects: this version can restore what consists of these. */
export interface BackupMethodSupport {
  readonly engine: string;
  readonly method: string;
  readonly roles: readonly string[];
}
/** A way to take backups of an engine. */
export interface BackupMethod {
  readonly name: string;
  readonly description: string;
  /** The server keeps running and accepts writes meanwhile. */
  readonly online: boolean;
  /** What the objects of such a backup are. */
  readonly roles: readonly string[];
}
/** A way to restore, as `allow.restore` of the agent file names it. */
export interface RestoreWay {
  readonly name: RestoreMode['type'];
  readonly description: string;
  /** Whether `undo` brings the previous data back. */
  readonly undo: boolean;
}
/**
 * What is known of an engine without a server. Everything outside packages/engines learns about engines from these: the schema of
 * the agent file, the methods and the ways to restore. The registry of packages/engines lists them.
 */
export interface EngineDefinition {
  /** The word in the agent file, manifests and the catalog. */
  readonly name: string;
  /** The product's name, for people. */
  readonly title: string;
  /** The connection of one target in the agent file. */
  readonly connectionSchema: z.ZodType;
  /** The first is the default. */
  readonly methods: readonly [BackupMethod, ...BackupMethod[]];
  readonly restoreWays: readonly [RestoreWay, ...RestoreWay[]];
  /** The driver of one target. Throws CONFIG_INVALID when the connection is not valid. */
  create(connection: unknown): Engine;
}
export interface VerifyOutcome {
  readonly reached: VerificationLevel | -1;
  readonly findings: readonly Finding[];
}
export interface RestoreRequest {
  readonly mode: RestoreMode;
  readonly jobId: string;
  readonly planHash: string;
}
export interface Identified {
  readonly systemId: string;
  readonly databases: readonly string[];
}
export type RestoreResult = Extract<JobResult, { command: 'restore' }>;
export type UndoResult = Extract<JobResult, { command: 'undo' }>;
/**
 * One database product; made by a factory from the parsed connection of one target. Holds no state between calls and never
 * retries: the job does. Throws Failure for what could not be done; a bad backup is a finding.
 */
export interface Engine {
  readonly name: string;
  /** Whose backups these are, and which databases there are; throws the failure that hinders it. */
  identify(context: EngineContext): Promise<Identified>;
  /** Reads the state of the server and changes nothing. Unreachable is a state, not an error. */
  probe(context: EngineContext): Promise<Omit<TargetInventory, 'name' | 'engine' | 'labels' | 'repository'>>;
  backup(
    request: { databases: readonly string[] | null; digests: boolean },
    sink: ArtifactSink,
    context: EngineContext,
  ): Promise<BackupFacts>;
  /** Throws BAD_INPUT when the backup cannot answer for this level, whatever its bytes are; asked before any of them is read. */
  checkLevel(level: VerificationLevel, manifest: Manifest): void;
  /** Levels 2 to 6 (0 and 1 are the repository's). */
  verify(level: VerificationLevel, source: ArtifactSource, context: EngineContext): Promise<VerifyOutcome>;
  plan(mode: RestoreMode, source: ArtifactSource, context: EngineContext): Promise<RestorePlanSummary>;
  /** Makes the plan again and refuses (PLAN_CHANGED) when its hash differs. Until the last step the old data is untouched. */
  restore(request: RestoreRequest, source: ArtifactSource, context: EngineContext): Promise<RestoreResult>;
  undo(restoreJobId: string, context: EngineContext): Promise<UndoResult>;
  /**
   * After a crash: removes what interrupted jobs left (scratch servers, half-restored databases), never what belongs to a job of
   * `runningJobs`, which is asked before each removal. Returns what it removed.
   */
  sweep(context: EngineContext, runningJobs: () => ReadonlySet<string>): Promise<readonly string[]>;
}
