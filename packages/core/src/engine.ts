import type {
  Compensation,
  ContentItem,
  Detail,
  Finding,
  JobOptions,
  JobResult,
  Manifest,
  RecoveryWindow,
  RestoreInto,
  RestorePlanSummary,
  RestoreRequest,
  TargetInventory,
  VerificationFinding,
  VerificationLevel,
} from '@lastgood/protocol';
import type { z } from 'zod';
import type { ArtifactSink, ArtifactSource, BackupFacts } from './artifact.ts';
import type { EngineContext } from './engine-context.ts';
import type { LogStream } from './log-stream.ts';
import type { RecoverySource } from './repository.ts';
import type { ServiceControl } from './service-control.ts';

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
  /** Whether a backup can contain some of the server's contents only. */
  readonly selectsContents: boolean;
  /** The options that a job may give; an unknown one is refused. */
  readonly optionsSchema: z.ZodType;
}
/** A way to restore, as `allow.restore` of the agent file names it. */
export interface RestoreWay {
  readonly name: RestoreInto['way'];
  readonly description: string;
  /** `undo` can restore the previous data. */
  readonly undo: boolean;
}
/** The continuous log of an engine, which makes points between backups restorable. */
export interface LogStreamInfo {
  /** What people call it, such as WAL. */
  readonly title: string;
  readonly description: string;
  /** The `stream` of a target in the agent file. */
  readonly optionsSchema: z.ZodType;
  /** Segments that are kept when those around them are removed, such as timeline histories. */
  isKept(segment: string): boolean;
}
/** A kind of check that the agent file can define for a target of the engine. Its name is unique among all engines. */
export interface CheckKind {
  readonly name: string;
  readonly description: string;
  readonly optionsSchema: z.ZodType;
}
/** What a check has found; it has passed when there is no finding. Details hold numbers and names, never data. */
export interface CheckOutcome {
  readonly findings: readonly Finding[];
  readonly details: readonly Detail[];
}
/** `limited`: no login, no password, and no rights but those on the restored data. `full`: everything that the backup has of them. */
export type RestoredRoles = 'limited' | 'full';

/** What the agent file says about the code of backups, which restore tests run. */
export interface RestoreTestLimits {
  /** The user ids of restore tests, one for each that runs. No user of the host has one of them. */
  readonly uids: { readonly first: number; readonly count: number };
  /** Programs and libraries outside of /usr that scratch servers read. */
  readonly readable: readonly string[];
  /** Consent to restore tests of this target that the host cannot contain. */
  readonly allowUncontained: boolean;
}

/** Above the ranges that systemd and the ranges of container users take. */
export const DEFAULT_RESTORE_TESTS: RestoreTestLimits = {
  uids: { first: 1_900_000_000, count: 1000 },
  readable: [],
  allowUncontained: false,
};

/** What the agent file gives an engine beside the connection. */
export interface EngineServices {
  /** The name of the target: what a person types to consent to the restore of the whole server. */
  readonly target: string;
  /** Stops and starts the database server; null when the agent file names no service for the target. */
  readonly service: ServiceControl | null;
  /** The folders that a restore may fill, by the names that the agent file gives them. */
  readonly restoreFolders: Readonly<Record<string, string>>;
  /** What roles have that a restore creates. Absent: `limited`. */
  readonly restoredRoles?: RestoredRoles;
  /** Absent: `DEFAULT_RESTORE_TESTS`. */
  readonly restoreTests?: RestoreTestLimits;
  /** The `stream` of the target, read by the engine's own schema; absent when the agent file has none. */
  readonly streamOptions?: unknown;
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
  /** Null when the engine restores backups only. */
  readonly stream: LogStreamInfo | null;
  readonly checks: readonly CheckKind[];
  /** Creates the driver of one target. Throws CONFIG_INVALID when the connection is not valid. */
  create(connection: unknown, services: EngineServices): Engine;
}
export interface VerifyOutcome {
  readonly reached: VerificationLevel | -1;
  readonly findings: readonly VerificationFinding[];
  /** What the result covers and what it does not, such as the version of the scratch server. They do not make the backup bad. */
  readonly remarks?: readonly Finding[];
}
export type { ContentItem };
export interface BackupRequest {
  /** The name of one of the engine's methods. */
  readonly method: string;
  /** The names of what is backed up; null for everything. */
  readonly contents: readonly string[] | null;
  readonly options: JobOptions;
}
/** A restore that somebody has consented to. */
export interface RestoreOrder {
  readonly request: RestoreRequest;
  readonly jobId: string;
  readonly planHash: string;
}
/** The state of a target without what the agent adds to it. */
export type ProbeReport = Omit<TargetInventory, 'name' | 'engine' | 'labels' | 'repository'>;
export interface Identified {
  readonly systemId: string;
  /** The names of what a backup of everything holds. */
  readonly contents: readonly string[];
}
export type RestoreResult = Extract<JobResult, { command: 'restore' }>;
export type UndoResult = Extract<JobResult, { command: 'undo' }>;
/**
 * The driver of one target. It keeps no state between calls and never retries; the job does. Throws a Failure when an operation
 * cannot be carried out. A bad backup is a finding, not a Failure.
 */
export interface Engine {
  readonly name: string;
  /** The log stream of the target; absent when the engine has none or the agent file does not configure one. */
  readonly stream?: LogStream;
  /**
   * The ranges of instants that backups and log streams can bring back, oldest first. Needs the repository alone, and not the server.
   * Absent when the engine restores backups only.
   */
  recoveryWindows?(source: RecoverySource, context: EngineContext): Promise<readonly RecoveryWindow[]>;
  /** Returns the system id and the contents of the server. Throws a Failure when the server cannot be read. */
  identify(context: EngineContext): Promise<Identified>;
  /** Reads the state of the server and changes nothing. Unreachable is a state, not an error. */
  probe(context: EngineContext): Promise<ProbeReport>;
  /** Throws BAD_INPUT for contents or options that the method does not have. */
  backup(request: BackupRequest, sink: ArtifactSink, context: EngineContext): Promise<BackupFacts>;
  /** Throws BAD_INPUT when a backup of this kind cannot be verified at this level. Reads no backup data. */
  checkLevel(level: VerificationLevel, manifest: Manifest): void;
  /** Verifies at levels 2 to 6. The repository verifies levels 0 and 1. */
  verify(level: VerificationLevel, source: ArtifactSource, context: EngineContext): Promise<VerifyOutcome>;
  /**
   * What a backup contains below its databases, such as tables, without reading its data. Throws BAD_INPUT for a backup without such a
   * list. Absent when the engine records none.
   */
  listContents?(source: ArtifactSource, context: EngineContext): Promise<readonly ContentItem[]>;
  /** Changes nothing. Throws BAD_INPUT for a scope, point or destination that the engine does not have. */
  plan(request: RestoreRequest, source: RecoverySource, context: EngineContext): Promise<RestorePlanSummary>;
  /** Computes the plan again; throws PLAN_CHANGED when its hash differs. The old data stays untouched until the last step. */
  restore(order: RestoreOrder, source: RecoverySource, context: EngineContext): Promise<RestoreResult>;
  undo(restoreJobId: string, context: EngineContext): Promise<UndoResult>;
  /** What an undo would take away. Changes nothing. Throws UNDO_IMPOSSIBLE. Absent when the engine does not count it. */
  planUndo?(restoreJobId: string, context: EngineContext): Promise<readonly Detail[]>;
  /** Runs a check of one of the engine's kinds, with options that fit its schema. Changes nothing that lasts. */
  check(kind: string, options: unknown, context: EngineContext): Promise<CheckOutcome>;
  /**
   * Drops what a restore or an undo has set aside, and returns its size. Throws NOT_FOUND for any other name. Absent when the engine
   * sets nothing aside.
   */
  dropSetAside?(name: string, context: EngineContext): Promise<{ freedBytes: number | null }>;
  /**
   * Takes back a step of this engine, in the process that made it or in a later one. Null: the engine has no such compensation.
   * Handlers are idempotent: the effect of the step may or may not have happened (StepRunner).
   */
  compensationOf(kind: string): ((params: Compensation['params'], context: EngineContext) => Promise<void>) | null;
  /**
   * Removes the leftovers of interrupted jobs, such as scratch servers and partially restored databases. Before each removal it calls
   * `runningJobs` and skips what belongs to one of these jobs. Returns what it removed.
   */
  sweep(context: EngineContext, runningJobs: () => ReadonlySet<string>): Promise<readonly string[]>;
}
