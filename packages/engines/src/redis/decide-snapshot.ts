/** What INFO reports about saves at one moment. */
export interface SaveObservation {
  readonly runId: string;
  /** Seconds since the epoch by the clock of the server. */
  readonly serverTime: number;
  /** Saves to the RDB file that were started since the start of the server, failed ones included. Null before Redis 7.0. */
  readonly saves: number | null;
  /** When the last successful save ended, in seconds of the server's clock. */
  readonly lastSaveAt: number;
  readonly lastSaveFailed: boolean;
  /** A child writes an RDB file, or streams one to a replica. */
  readonly isSaving: boolean;
  /** A child of another kind runs, such as a rewrite of the AOF: a save waits for its end. */
  readonly hasOtherChild: boolean;
  readonly isLoading: boolean;
}

/*
 * waiting ──request accepted──► requested ──a save that began after `base` has ended well──► finished
 *    │  ▲                          │
 *    │  └───────── refused ────────┤
 *    └──────── failed ◄────────────┘  restarted, save failed, refused too often
 */
export interface SnapshotState {
  readonly phase: 'waiting' | 'requested';
  /** The observation before the request; before any request, the first one. Every save that began later will do, also one of another client. */
  readonly base: SaveObservation;
  /** Refusals in a row without a visible reason. */
  readonly refusals: number;
}

export type SnapshotFailure =
  /** The server was started anew: its counters say nothing about our request. */
  | 'restarted'
  /** The save of our request ended with an error, or its process could not be started. */
  | 'save-failed'
  /** The server refuses the command although nothing hinders a save. */
  | 'refused'
  /** The server does not count its saves (Redis before 7.0). */
  | 'unsupported';

export type SnapshotDecision =
  | { readonly do: 'request' }
  | { readonly do: 'wait'; readonly for: 'loading' | 'other-save' | 'other-child' | 'start' | 'save' }
  /** The RDB file is of a save that started at `notBefore` (seconds of the server's clock) or later. */
  | { readonly do: 'finish'; readonly notBefore: number; readonly savedAt: number }
  | { readonly do: 'fail'; readonly reason: SnapshotFailure };

/** Refusals in a row, without any visible reason, that end the attempt. */
const MOST_REFUSALS = 5;

export const beginSnapshot = (now: SaveObservation): SnapshotState => ({ phase: 'waiting', base: now, refusals: 0 });

/** What to do next. A save that began before `base` is never taken: it misses what was written since. */
export function decideSnapshot({ phase, base, refusals }: SnapshotState, now: SaveObservation): SnapshotDecision {
  if (now.runId !== base.runId) return { do: 'fail', reason: 'restarted' };
  if (now.saves === null || base.saves === null) return { do: 'fail', reason: 'unsupported' };
  const started = now.saves - base.saves;
  // Saves follow each other: when one runs, all before it have ended. A stream to a replica also counts as running, and is waited for.
  const hasEnded = started > (now.isSaving ? 1 : 0);
  // A save that ends within the second of the one before leaves that time as it was.
  const hasAdvanced = now.lastSaveAt > base.lastSaveAt || now.lastSaveAt >= base.serverTime;
  if (hasEnded && !now.lastSaveFailed && hasAdvanced)
    return { do: 'finish', notBefore: base.serverTime, savedAt: now.lastSaveAt };
  if (phase === 'waiting') {
    if (refusals >= MOST_REFUSALS) return { do: 'fail', reason: 'refused' };
    if (now.isLoading) return { do: 'wait', for: 'loading' };
    return now.isSaving ? { do: 'wait', for: 'other-save' } : { do: 'request' };
  }
  if (now.isSaving) return { do: 'wait', for: 'save' };
  if (hasEnded) return { do: 'fail', reason: 'save-failed' };
  return { do: 'wait', for: now.hasOtherChild ? 'other-child' : 'start' };
}

/** The state after a request, which the server accepted (started or scheduled) or refused. `before` and `after` enclose it. */
export function afterRequest(
  state: SnapshotState,
  before: SaveObservation,
  isAccepted: boolean,
  after: SaveObservation,
): SnapshotState {
  const requested: SnapshotState = { phase: 'requested', base: before, refusals: 0 };
  if (isAccepted) return requested;
  // Refused, but counted: the process of the save could not be started. The next decision sees its failure.
  const hasFailedToStart = (after.saves ?? 0) > (before.saves ?? 0) && !after.isSaving && after.lastSaveFailed;
  if (hasFailedToStart) return requested;
  const isExplained = before.isSaving || after.isSaving || before.saves !== after.saves;
  return { phase: 'waiting', base: state.base, refusals: isExplained ? 0 : state.refusals + 1 };
}
