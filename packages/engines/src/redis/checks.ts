import { Bug, type CheckKind, type CheckOutcome } from '@lastgood/core';
import { makeFinding } from '@lastgood/protocol';
import { z } from 'zod';
import { RedisSession } from './client.ts';
import type { RedisConnection } from './connection-schema.ts';

const databaseNumber = z.int().min(0).max(65_535).default(0);
const pingSchema = z.strictObject({});
const keysSchema = z.strictObject({
  database: databaseNumber,
  least: z.int().min(0).describe('The least number of keys.'),
});

export const redisChecks: readonly CheckKind[] = [
  { name: 'ping', description: 'The server answers PING and has loaded its data.', optionsSchema: pingSchema },
  { name: 'keys', description: 'A database has at least so many keys.', optionsSchema: keysSchema },
];

/** Runs a check in a connection of its own. Throws what the server or the way to it has failed with. */
export async function runRedisCheck(
  connection: RedisConnection,
  kind: string,
  options: unknown,
  signal: AbortSignal,
): Promise<CheckOutcome> {
  switch (kind) {
    case 'ping': {
      await using session = await RedisSession.open(connection, signal);
      // While it loads its data, a server answers every command but a few with an error.
      const answer = await session.call('PING');
      const differs = makeFinding('CHECK_VALUE', null, {
        what: 'the answer to PING',
        found: 'another text',
        expected: 'PONG',
      });
      return { findings: answer === 'PONG' ? [] : [differs], details: [] };
    }
    case 'keys': {
      const { database, least } = keysSchema.parse(options);
      await using session = await RedisSession.open(connection, signal, { database });
      const found = Number(await session.call('DBSIZE'));
      const finding = makeFinding('CHECK_TOO_FEW', null, { what: `keys of database ${database}`, found, least });
      return { findings: found < least ? [finding] : [], details: [{ label: 'keys', value: found, unit: 'count' }] };
    }
    default:
      throw new Bug(`no check "${kind}"`);
  }
}
