export * from './exposition.ts';
export * from './families.ts';
