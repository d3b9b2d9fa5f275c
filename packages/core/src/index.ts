export * from './engine.ts';
export * from './failure.ts';
export * from './rotation.ts';
export * from './store.ts';
export * from './verdict.ts';
