export { type Command, RedisSession, type SessionOptions } from './client.ts';
export { type RedisConnection, redisConnectionSchema } from './connection-schema.ts';
export { Crc64 } from './crc64.ts';
export * from './rdb-report.ts';
export { RdbWalker, walkRdb } from './rdb-walker.ts';
export { hasReplyCode, type ReplyCode, ReplyFailure } from './reply-failure.ts';
export { type Product, readServerFacts, type ServerFacts, type Settings } from './server-facts.ts';
