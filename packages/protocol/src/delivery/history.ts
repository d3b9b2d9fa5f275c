import { ERROR_CATALOG, type ErrorCode, type WireError } from '../errors.ts';
import type { JournalJob, KnownJob } from '../wire.ts';

/** Builds what travels of a failure; the remedy comes from the catalog. */
export const wireErrorOf = (code: ErrorCode, message: string): WireError => ({
  code,
  message,
  remedy: ERROR_CATALOG[code].remedy,
});

type Told = Pick<JournalJob, 'jobId' | 'attempt' | 'n' | 'lastEventId' | 'open'>;
type Known = Pick<KnownJob, 'jobId' | 'attempt' | 'lastN' | 'lastEventId' | 'terminal' | 'diverged'>;

/**
 * True when what an agent told of an attempt can not be an earlier or later moment of the history that the control plane
 * recorded: the agent's host went back in time. Both sides use this one rule, the agent on what it SENT with its hello (its
 * ledger may have moved on since).
 */
export function contradicts(told: Told, known: Known): boolean {
  if (told.attempt !== known.attempt) return told.open && (told.attempt < known.attempt || known.terminal);
  if (told.n < known.lastN || known.diverged) return true;
  if (known.terminal && (told.open || told.n > known.lastN)) return true;
  if (told.n > known.lastN) return false;
  return told.lastEventId !== known.lastEventId;
}
