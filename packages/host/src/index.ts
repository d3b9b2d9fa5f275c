export * from './chunk-batcher.ts';
export * from './clock.ts';
export * from './files.ts';
export * from './lock.ts';
export * from './poll-until.ts';
export * from './run-tool.ts';
export * from './trusted-program.ts';
