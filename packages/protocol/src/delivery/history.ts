import type { JournalJob, KnownJob } from '../session/hello.ts';

type Reported = Pick<JournalJob, 'jobId' | 'attempt' | 'eventNumber' | 'lastEventId' | 'open'>;
type Known = Pick<KnownJob, 'jobId' | 'attempt' | 'lastEventNumber' | 'lastEventId' | 'terminal' | 'diverged'>;

/**
 * True if what an agent reports about an attempt cannot be an earlier or later moment of the history that the control plane
 * recorded: the agent's host was set back. Both sides use this one rule, the agent on what it sent with its hello (its ledger
 * may have moved on since).
 */
export function contradicts(reported: Reported, known: Known): boolean {
  if (reported.attempt !== known.attempt) return reported.open && (reported.attempt < known.attempt || known.terminal);
  if (reported.eventNumber < known.lastEventNumber || known.diverged) return true;
  if (known.terminal && (reported.open || reported.eventNumber > known.lastEventNumber)) return true;
  if (reported.eventNumber > known.lastEventNumber) return false;
  return reported.lastEventId !== known.lastEventId;
}
