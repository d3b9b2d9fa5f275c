export * from './restore-time.ts';
export * from './rollup.ts';
export * from './target-status.ts';
export * from './verification-sweep.ts';
