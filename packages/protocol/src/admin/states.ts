/** The states of a target and of a database, worst first: their order is used. core/objectives explains them. */
export const TARGET_STATES = ['none', 'missed', 'unknown', 'at_risk', 'pending', 'protected'] as const;

/** The states of a due run of a schedule; core/schedules has the transitions. */
export const OCCURRENCE_STATES = [
  'expected',
  'running',
  'waiting',
  'succeeded',
  'failed',
  'missed',
  'skipped',
] as const;

/** The states of an alert; core/alerts has the transitions. */
export const ALERT_STATES = ['pending', 'firing', 'acknowledged', 'resolved'] as const;
