export * from './engine.ts';
export * from './failure.ts';
export * from './repository.ts';
export * from './retention/plan.ts';
export * from './verification/verdict.ts';
