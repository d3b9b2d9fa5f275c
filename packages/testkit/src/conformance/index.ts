export * from './engine.ts';
export type { EngineSubject, TriedRestore } from './engine-harness.ts';
export * from './object-store.ts';
export * from './repository.ts';
export type { RepositoryUnderTest } from './repository-harness.ts';
