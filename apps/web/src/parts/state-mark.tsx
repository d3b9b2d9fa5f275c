import type { ReactNode } from 'react';
import type { TargetState } from '../data/fleet-row.ts';

export const STATE_NAMES: Readonly<Record<TargetState, string>> = {
  none: 'none',
  missed: 'missed',
  unknown: 'unknown',
  at_risk: 'at risk',
  pending: 'pending',
  protected: 'protected',
};
export const STATE_MEANINGS: Readonly<Record<TargetState, string>> = {
  none: 'no recovery point',
  missed: 'an objective is not met',
  unknown: 'the host does not report',
  at_risk: 'over 80 % of an objective',
  pending: 'its first backup is not due yet',
  protected: 'all objectives are met',
};

/** Each state has its own shape, so that color is never the only difference. */
const SHAPES: Readonly<Record<TargetState, ReactNode>> = {
  none: <path d="M2 2h12v12H2z M5.5 5.5l5 5 M10.5 5.5l-5 5" className="mark-cut" />,
  missed: <path d="M8 1l7 7-7 7-7-7z" />,
  unknown: <circle cx="8" cy="8" r="6" className="mark-open mark-dashed" />,
  at_risk: <path d="M8 1.5L15 14H1z" />,
  pending: <circle cx="8" cy="8" r="5.5" className="mark-open" />,
  protected: <circle cx="8" cy="8" r="6.5" />,
};

export function StateShape({ state }: { readonly state: TargetState }) {
  return (
    <svg className={`mark state-${state}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
      {SHAPES[state]}
    </svg>
  );
}

/** Shape, color and word of a state. */
export function StateMark({ state }: { readonly state: TargetState }) {
  return (
    <span className={`state state-${state}`} title={STATE_MEANINGS[state]}>
      <StateShape state={state} />
      {STATE_NAMES[state]}
    </span>
  );
}
