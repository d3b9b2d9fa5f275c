import { Failure } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import pg from 'pg';
import type { PostgresConnection } from '../connection-schema.ts';
import { managedNamePattern } from '../server.ts';
import { Session } from '../session.ts';

export interface CopyCounts {
  readonly databases: number;
  readonly tables: number;
  /** Null unless every row was read. */
  readonly rows: bigint | null;
}

const DATABASES = `select datname as name from pg_catalog.pg_database where datallowconn and datname not in ('template0', 'template1') and datname !~ $1 order by 1`;
const TABLES = `select n.nspname as schema, c.relname as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and c.relpersistence = 'p' and (c.relkind = 'r' or c.relispopulated) order by 1, 2`;

/**
 * Counts what a started copy holds. `expected` are the databases of the backup; those that are missing are findings. With `everyRow`,
 * every table is read to its end, system catalogs included, and one that cannot be read is a finding.
 */
export async function readCopy(
  connection: PostgresConnection,
  expected: readonly string[],
  everyRow: boolean,
  signal: AbortSignal,
  onTable: (done: number) => void = () => undefined,
): Promise<{ readonly counts: CopyCounts; readonly findings: readonly Finding[] }> {
  await using first = await Session.open(connection, 'template1', signal);
  const names = (await first.rows<{ name: string }>(DATABASES, [managedNamePattern('(new|old|undone)')])).map(
    ({ name }) => name,
  );
  const findings: Finding[] = expected
    .filter((name) => !names.includes(name))
    .map((name) => makeFinding('DATABASE_NOT_IN_COPY', { kind: 'database', name }));
  let [tables, rows] = [0, 0n];
  for (const database of names) {
    await using session = await Session.open(connection, database, signal);
    for (const { schema, name } of await session.rows<{ schema: string; name: string }>(TABLES)) {
      tables += 1;
      if (!everyRow) continue;
      const table = `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(name)}`;
      try {
        rows += BigInt((await session.one<{ n: string }>(`select count(*)::text as n from only ${table}`)).n);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Failure) || error.code === 'DATABASE_UNREACHABLE') throw error;
        findings.push(
          makeFinding(
            'TABLE_UNREADABLE',
            { kind: 'table', name: `${schema}.${name}` },
            { database, reason: error.message },
          ),
        );
      }
      onTable(tables);
    }
  }
  return { counts: { databases: names.length, tables, rows: everyRow ? rows : null }, findings };
}
