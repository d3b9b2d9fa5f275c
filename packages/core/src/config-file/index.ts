export * from '../duration.ts';
export * from './yaml-text.ts';
