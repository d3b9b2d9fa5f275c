export { Crc64 } from './crc64.ts';
export * from './rdb-report.ts';
export { RdbWalker, walkRdb } from './rdb-walker.ts';
