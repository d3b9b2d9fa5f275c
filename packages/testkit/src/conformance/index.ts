export * from './object-store.ts';
export * from './repository.ts';
export type { RepositoryUnderTest } from './repository-harness.ts';
