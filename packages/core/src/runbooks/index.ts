export { advanceRun } from './advance-run.ts';
export * from './decide-run.ts';
export * from './drill-schedule.ts';
export * from './plan-action.ts';
export * from './plan-runbook.ts';
export * from './record-job.ts';
export * from './recovery-set.ts';
export * from './run-jobs.ts';
export * from './situation.ts';
