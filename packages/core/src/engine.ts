import type { Readable, Writable } from 'node:stream';
import type {
  BackupContent,
  Finding,
  JobResult,
  LogRange,
  Manifest,
  ManifestObject,
  ProgressPhase,
  RestoreMode,
  RestorePlanSummary,
  TargetInventory,
  VerificationFinding,
  VerificationLevel,
} from '@lastgood/protocol';
import type { z } from 'zod';
import type { StepRunner } from './steps.ts';

/** Gives wall time (ms since the epoch) and monotonic time (ms). */
export interface Clock {
  now(): number;
  monotonic(): number;
}
export interface JobProgress {
  readonly phase: ProgressPhase;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
  /** Done and all of what the phase counts beside bytes. */
  readonly doneItems?: number;
  readonly totalItems?: number;
}
/** The environment of one driver call. `workDir` is private (0700); the caller removes it afterwards. */
export interface EngineContext {
  readonly workDir: string;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** The way to change anything that a crash must not leave changed. */
  readonly steps: StepRunner;
  progress(progress: JobProgress): void;
  log(message: string): void;
}
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
}
/** Returns objects as the tool produced them. A stream fails with BACKUP_CORRUPT at its end when its bytes do not match the manifest. */
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
  readonly warnings: readonly Finding[];
}
/** A backup method of an engine with its object roles. This version can restore backups that use only these. */
export interface BackupMethodSupport {
  readonly engine: string;
  readonly method: string;
  readonly roles: readonly string[];
}
/** A way to take backups of an engine. */
export interface BackupMethod {
  readonly name: string;
  readonly description: string;
  /** The server accepts writes during the backup. */
  readonly online: boolean;
  /** The roles of the objects in such a backup. */
  readonly roles: readonly string[];
}
/** A way to restore, as `allow.restore` of the agent file names it. */
export interface RestoreWay {
  readonly name: RestoreMode['type'];
  readonly description: string;
  /** `undo` can restore the previous data. */
  readonly undo: boolean;
}
/**
 * The static description of an engine: connection schema, backup methods and ways to restore. All other packages learn about
 * engines from these definitions only. The registry of packages/engines lists them.
 */
export interface EngineDefinition {
  /** The identifier in the agent file, manifests and the catalog. */
  readonly name: string;
  /** The product name for display. */
  readonly title: string;
  /** The connection of one target in the agent file. */
  readonly connectionSchema: z.ZodType;
  /** The first is the default. */
  readonly methods: readonly [BackupMethod, ...BackupMethod[]];
  readonly restoreWays: readonly [RestoreWay, ...RestoreWay[]];
  /** Creates the driver of one target. Throws CONFIG_INVALID when the connection is not valid. */
  create(connection: unknown): Engine;
}
export interface VerifyOutcome {
  readonly reached: VerificationLevel | -1;
  readonly findings: readonly VerificationFinding[];
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
 * The driver of one target. It keeps no state between calls and never retries; the job does. Throws a Failure when an operation
 * cannot be carried out. A bad backup is a finding, not a Failure.
 */
export interface Engine {
  readonly name: string;
  /** Returns the system id and the databases of the server. Throws a Failure when the server cannot be read. */
  identify(context: EngineContext): Promise<Identified>;
  /** Reads the state of the server and changes nothing. Unreachable is a state, not an error. */
  probe(context: EngineContext): Promise<Omit<TargetInventory, 'name' | 'engine' | 'labels' | 'repository'>>;
  backup(
    request: { databases: readonly string[] | null; digests: boolean },
    sink: ArtifactSink,
    context: EngineContext,
  ): Promise<BackupFacts>;
  /** Throws BAD_INPUT when a backup of this kind cannot be verified at this level. Reads no backup data. */
  checkLevel(level: VerificationLevel, manifest: Manifest): void;
  /** Verifies at levels 2 to 6. The repository verifies levels 0 and 1. */
  verify(level: VerificationLevel, source: ArtifactSource, context: EngineContext): Promise<VerifyOutcome>;
  plan(mode: RestoreMode, source: ArtifactSource, context: EngineContext): Promise<RestorePlanSummary>;
  /** Computes the plan again; throws PLAN_CHANGED when its hash differs. The old data stays untouched until the last step. */
  restore(request: RestoreRequest, source: ArtifactSource, context: EngineContext): Promise<RestoreResult>;
  undo(restoreJobId: string, context: EngineContext): Promise<UndoResult>;
  /**
   * Removes the leftovers of interrupted jobs, such as scratch servers and partially restored databases. Before each removal it calls
   * `runningJobs` and skips what belongs to one of these jobs. Returns what it removed.
   */
  sweep(context: EngineContext, runningJobs: () => ReadonlySet<string>): Promise<readonly string[]>;
}
