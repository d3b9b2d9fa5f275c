import { z } from 'zod';
import { instantSchema } from '../ids.ts';

const position = z.string().max(64);

/** Where a log stream is. Positions are the engine's, such as an LSN; everything before a position is there. */
export const streamReportSchema = z.object({
  id: z.string().max(63),
  /**
   * `running`: it follows the server · `idle`: nothing new was written, and all is stored · `stalled`: the server writes, and what is
   * stored does not follow · `stopped`: it is turned off, or its server or repository cannot be read.
   */
  state: z.enum(['running', 'idle', 'stalled', 'stopped']),
  /** The end of what is in the repository; null when nothing is. */
  storedTo: position.nullable(),
  /** The end of the log at the server; null when it cannot be read. */
  serverAt: position.nullable(),
  /** How much of the server's log is not in the repository; null when it is not known. */
  lagBytes: z.number().nullable(),
  /** Everything that was committed up to this instant is in the repository; null when it is not known. */
  storedUntil: instantSchema.nullable(),
  /** Spans of the log that are missing in the repository, oldest first; `to` is exclusive. */
  gaps: z.array(z.object({ from: position, to: position })).max(20),
});
export type StreamReport = z.infer<typeof streamReportSchema>;

/** A range of instants that can be restored. */
export const recoveryWindowSchema = z.object({
  from: instantSchema,
  to: instantSchema,
  /** The log goes on from here: with every stored segment the window reaches a later instant. */
  isOpen: z.boolean(),
  /** The history of the server that the window is of, such as a timeline. */
  branch: z.string().max(64),
  /** The backups that a restore into this window starts from, oldest first. */
  backups: z.array(z.string()).max(1_000),
});
export type RecoveryWindow = z.infer<typeof recoveryWindowSchema>;
