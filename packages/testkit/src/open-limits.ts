/** Host limits that let a rotation remove backups of this moment, for tests in which every backup is young. */
export const OPEN_LIMITS = { minimumAgeHours: 0, keepDaily: 0, keepWeekly: 0, maxRemovedPerDay: 400 } as const;
