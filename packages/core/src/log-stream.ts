import type { Finding, StreamReport } from '@lastgood/protocol';
import type { Clock } from './engine-context.ts';
import type { SegmentLog } from './segment-log.ts';

/** The environment of a log stream. */
export interface StreamContext {
  /** Where the stream is stored: the log of its `id` in the repository of the target. */
  readonly log: SegmentLog;
  /** A private folder of this stream that survives restarts of the agent. */
  readonly spoolFolder: string;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  note(message: string): void;
}
export interface StreamCheck {
  readonly report: StreamReport;
  readonly findings: readonly Finding[];
}

/** What a server still lacks for a stream, and how much its settings allow to be lost. */
export interface StreamRequirements {
  /** Statements for an administrator of the server, in the order in which they are run. */
  readonly statements: readonly { readonly text: string; readonly needsRestart: boolean }[];
  /** Settings that are right in the files of the server and take effect with its restart. */
  readonly pendingRestart: readonly string[];
  /** How old a transaction can become before it is stored, in seconds, with the settings as they are; null for no limit. */
  readonly rpoSeconds: number | null;
  /** Settings under which a crash of the server loses or damages data. */
  readonly unsafe: readonly string[];
}

/**
 * The continuous log of one target, as desired state: the agent runs it while it is enabled, and starts it again with growing pauses
 * when it ends. It is not a job.
 */
export interface LogStream {
  /** Names the log in the repository. */
  readonly id: string;
  /** How often the agent calls `check`. */
  readonly checkEveryMs: number;
  /** False: the agent file turns the stream off, and `remove` takes back what it holds at the server. */
  readonly isEnabled: boolean;
  /** Stores the log until the signal aborts. Throws a Failure when it cannot go on; STREAM_STOPPED when that needs a person. */
  run(context: StreamContext): Promise<void>;
  /** Compares the server with what is stored, and remembers what the next comparison needs. Throws when one of them cannot be read. */
  check(context: StreamContext): Promise<StreamCheck>;
  /** Reads what the server lacks for the stream. Changes nothing. Throws when the server cannot be read. */
  readRequirements(context: Pick<StreamContext, 'signal'>): Promise<StreamRequirements>;
  /** Removes what the stream holds at the server, such as a replication slot. Succeeds when nothing is left. */
  remove(context: Pick<StreamContext, 'signal'>): Promise<void>;
}
