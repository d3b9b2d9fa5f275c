export * from './database-status.ts';
export * from './evaluate-target.ts';
export * from './restore-time.ts';
export * from './rollup.ts';
export * from './status-findings.ts';
export * from './target-status.ts';
export * from './verification-sweep.ts';
