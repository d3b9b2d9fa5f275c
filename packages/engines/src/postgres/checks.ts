import type { CheckKind, CheckOutcome } from '@lastgood/core';
import { Bug } from '@lastgood/core';
import { databaseNameSchema, type Finding, makeFinding } from '@lastgood/protocol';
import pg from 'pg';
import { z } from 'zod';
import type { PostgresConnection } from './connection-schema.ts';
import { Session } from './session.ts';

const MAX_SQL_CHARS = 10_000;
const sqlText = z.string().min(1).max(MAX_SQL_CHARS);
const database = databaseNameSchema.describe('The database in which it runs.');
const identifier = z.string().min(1).max(63);

const sqlSchema = z.strictObject({
  database,
  query: sqlText.describe(
    'Reads one value. Names of tables need their schema: `select count(*) > 0 from public.orders`.',
  ),
  expect: z
    .union([z.boolean(), z.number(), z.string().max(255)])
    .default(true)
    .describe('The value; `true` when absent.'),
});
const flywaySchema = z.strictObject({
  database,
  schema: identifier.default('public'),
  table: identifier.default('flyway_schema_history'),
  version: z
    .string()
    .min(1)
    .max(50)
    .optional()
    .describe('The newest version that must have been applied; any when absent.'),
});
const transactionSchema = z.strictObject({
  database,
  statements: z.array(sqlText).min(1).max(20).describe('They run in one transaction, which is rolled back.'),
});
const rowsSchema = z.strictObject({
  database,
  tables: z
    .record(z.string().regex(/^[^.]+\.[^.]+$/, 'name a table as schema.table'), z.int().min(0))
    .describe('The least number of rows of each table.'),
});

export const postgresChecks: readonly CheckKind[] = [
  { name: 'sql', description: 'A query returns the expected value.', optionsSchema: sqlSchema },
  {
    name: 'flyway',
    description: 'The migrations of Flyway are applied, and none has failed.',
    optionsSchema: flywaySchema,
  },
  {
    name: 'transaction',
    description: 'A sample transaction succeeds; it is rolled back.',
    optionsSchema: transactionSchema,
  },
  { name: 'rows', description: 'Tables have at least so many rows.', optionsSchema: rowsSchema },
];

/** What may be shown of a value: texts may be data. */
const shown = (value: unknown): string =>
  typeof value === 'number' || typeof value === 'boolean' ? String(value) : value === null ? 'null' : 'another text';

/** Numbers that PostgreSQL sends as texts, such as those of `count`, are compared as numbers. */
function comparableValue(found: unknown, expected: unknown): unknown {
  if (typeof expected === 'number' && typeof found === 'string' && /^-?\d+(\.\d+)?$/.test(found)) return Number(found);
  return found;
}

async function checkSql(session: Session, { query, expect }: z.output<typeof sqlSchema>): Promise<CheckOutcome> {
  await session.run('begin read only');
  const [row = {}] = await session.rows(query);
  await session.run('rollback');
  const found = comparableValue(Object.values(row)[0] ?? null, expect);
  const differs = makeFinding('CHECK_VALUE', null, {
    what: 'the value of the query',
    found: shown(found),
    expected: String(expect),
  });
  return { findings: found === expect ? [] : [differs], details: [] };
}

async function checkFlyway(
  session: Session,
  { database: name, schema, table, version }: z.output<typeof flywaySchema>,
): Promise<CheckOutcome> {
  const history = `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(table)}`;
  const subject = { kind: 'database', name } as const;
  const rows = await session.rows<{ version: string | null; success: boolean }>(
    `select version, success from ${history} order by installed_rank`,
  );
  const newest = rows.findLast((row) => row.success && row.version !== null)?.version ?? null;
  const findings: Finding[] = rows
    .filter(({ success }) => !success)
    .slice(0, 5)
    .map((row) => makeFinding('CHECK_MIGRATION_FAILED', subject, { version: row.version ?? 'without a version' }));
  if (newest === null || (version !== undefined && newest !== version))
    findings.push(
      makeFinding('CHECK_MIGRATION_MISSING', subject, { found: newest ?? 'none', expected: version ?? 'at least one' }),
    );
  const details = [
    { label: 'applied migrations', value: rows.filter(({ success }) => success).length, unit: 'count' },
    { label: 'newest migration', value: newest ?? 'none', unit: 'text' },
  ] as const;
  return { findings, details };
}

async function checkTransaction(
  session: Session,
  { statements }: z.output<typeof transactionSchema>,
): Promise<CheckOutcome> {
  await session.run('begin');
  for (const statement of statements) await session.rows(statement);
  await session.run('rollback');
  return { findings: [], details: [{ label: 'statements', value: statements.length, unit: 'count' }] };
}

async function checkRows(session: Session, { tables }: z.output<typeof rowsSchema>): Promise<CheckOutcome> {
  const findings: Finding[] = [];
  const details: CheckOutcome['details'][number][] = [];
  for (const [table, least] of Object.entries(tables)) {
    const [schema = '', name = ''] = table.split('.');
    const { count } = await session.one<{ count: string }>(
      `select count(*)::text as count from ${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(name)}`,
    );
    const found = Number(count);
    if (details.length < 20) details.push({ label: table.slice(0, 64), value: found, unit: 'count' });
    if (found < least) findings.push(makeFinding('CHECK_TOO_FEW', null, { what: `rows of ${table}`, found, least }));
  }
  return { findings, details };
}

/** Runs a check in a session of its own. Throws what the server or the way to it has failed with. */
export async function runPostgresCheck(
  connection: PostgresConnection,
  kind: string,
  options: unknown,
  signal: AbortSignal,
): Promise<CheckOutcome> {
  const run = async <T extends { database: string }>(
    schema: z.ZodType<T>,
    check: (session: Session, options: T) => Promise<CheckOutcome>,
  ): Promise<CheckOutcome> => {
    const parsed = schema.parse(options);
    await using session = await Session.open(connection, parsed.database, signal);
    return await check(session, parsed);
  };
  switch (kind) {
    case 'sql':
      return await run(sqlSchema, checkSql);
    case 'flyway':
      return await run(flywaySchema, checkFlyway);
    case 'transaction':
      return await run(transactionSchema, checkTransaction);
    case 'rows':
      return await run(rowsSchema, checkRows);
    default:
      throw new Bug(`no check "${kind}"`);
  }
}
