import { Failure } from '@lastgood/core';
import pg from 'pg';
import type { Session } from './connection.ts';

const id = pg.escapeIdentifier;

/** A quoted text or name up to its end, a comment, a command of psql, the end of a statement, or text between these. */
const TOKENS = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|(?<=^|\n)\\[^\n]*|;|[^'"\-;\\]+|[\s\S]/g;

/**
 * The statements of what `pg_dumpall --globals-only` wrote, without their semicolons, comments and commands of psql. A role may
 * put any text into its own settings and comments: a line of such text is never taken for a statement. pg_dumpall doubles every
 * quote and backslash (standard_conforming_strings, E'…'), so that a text ends at its first single quote.
 */
export function statementsOf(globals: string): string[] {
  const statements: string[] = [];
  let current = '';
  for (const [token] of globals.matchAll(TOKENS)) {
    if (token === ';') {
      statements.push(current.trim());
      current = '';
    } else if (token === "'" || token === '"') {
      throw new Failure('BACKUP_CORRUPT', 'the globals end inside of a quoted text');
    } else if (!token.startsWith('--') && !/^\\./.test(token)) current += token;
  }
  if (current.trim() !== '') throw new Failure('BACKUP_CORRUPT', 'the globals end inside of a statement');
  return statements;
}

const NAME = '("(?:[^"]|"")*"|[a-z_][a-z0-9_$]*)';
const MEMBERSHIP = new RegExp(`^(GRANT ${NAME} TO ${NAME}(?: WITH [A-Z, ]+?)?)(?: GRANTED BY ${NAME})?$`);
const nameOf = (written: string): string =>
  written.startsWith('"') ? written.slice(1, -1).replaceAll('""', '"') : written;

/**
 * A membership without the role that granted it, any other statement as it is. PostgreSQL 16 and later accept as grantor only the
 * superuser that initdb made and roles with the admin option; on another server the former has another name.
 */
export const withoutGrantor = (statement: string): string => MEMBERSHIP.exec(statement)?.[1] ?? statement;

export interface RoleStatements {
  /** CREATE ROLE and its attributes: without them the restore cannot go on. */
  readonly make: readonly string[];
  /** Settings, comments and memberships: one that this server does not take is left out. */
  readonly adorn: readonly string[];
}

/**
 * What makes the `missing` roles as the globals describe them, for a server that already has `known`. `bootstrap`, the superuser that
 * initdb made on the source, is made without its rights: it only has to own what it owned. RESTORE_FAILED when the globals lack one.
 */
export function roleStatements(
  globals: string,
  missing: readonly string[],
  known: ReadonlySet<string>,
  bootstrap: string | null,
): RoleStatements {
  const statements = statementsOf(globals);
  const make: string[] = [];
  const adorn: string[] = [];
  for (const role of missing) {
    const written = /^[a-z_][a-z0-9_$]*$/.test(role) ? [id(role), role] : [id(role)];
    const own = statements.filter((statement) =>
      written.some((name) => statement === `CREATE ROLE ${name}` || statement.startsWith(`ALTER ROLE ${name} WITH `)),
    );
    if (own.length === 0)
      throw new Failure('RESTORE_FAILED', `role "${role}" is missing on the server and in the globals of the backup`);
    if (role === bootstrap) {
      make.push(`CREATE ROLE ${id(role)} NOLOGIN`);
      continue;
    }
    make.push(...own);
    adorn.push(
      ...statements.filter((statement) =>
        written.some(
          (name) =>
            statement.startsWith(`ALTER ROLE ${name} SET `) || statement.startsWith(`COMMENT ON ROLE ${name} IS `),
        ),
      ),
    );
  }
  const made = new Set(missing);
  for (const statement of statements) {
    const [, grant, group, member] = MEMBERSHIP.exec(statement) ?? [];
    if (grant === undefined || group === undefined || member === undefined) continue;
    const both = [nameOf(group), nameOf(member)];
    // Who granted it is left out: that role need not be here. Between two roles that were here, nothing changes.
    if (both.some((name) => made.has(name)) && both.every((name) => made.has(name) || known.has(name)))
      adorn.push(grant);
  }
  return { make, adorn };
}

/** Makes all of the missing roles or none; never changes one that is there. Returns a warning for everything that was left out. */
export async function makeRoles(session: Session, { make, adorn }: RoleStatements): Promise<string[]> {
  const warnings: string[] = [];
  await session.run('begin');
  try {
    for (const statement of make) await session.run(statement);
    for (const statement of adorn) {
      await session.run('savepoint adorn');
      try {
        await session.run(statement);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        await session.run('rollback to savepoint adorn');
        warnings.push(`left out of the roles: ${error.message}`);
      }
    }
    await session.run('commit');
    return warnings;
  } catch (error) {
    await session.run('rollback').catch(() => undefined);
    throw error;
  }
}
