import { Failure, type RestoredRoles } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import pg from 'pg';
import type { Session } from './session.ts';

const id = pg.escapeIdentifier;

/** A quoted text or name up to its end, a comment, a command of psql, the end of a statement, or text between these. */
const TOKENS = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|(?<=^|\n)\\[^\n]*|;|[^'"\-;\\]+|[\s\S]/g;

/** pg_dumpall writes a list without elements as no value at all, which no server takes. */
const withValue = (statement: string): string =>
  /^ALTER ROLE [\s\S]* SET \S+ TO$/.test(statement) ? `${statement} ''` : statement;

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
      statements.push(withValue(current.trim()));
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
/** The name of a role as it is written in a statement, without its quotes. */
export const nameOf = (written: string): string =>
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

/** A new role has no rights by itself. NOINHERIT takes some, so it stays. */
const limitedRole = (role: string, own: readonly string[]): string =>
  `CREATE ROLE ${id(role)} NOLOGIN${own.some((statement) => attributesOf(statement).includes('NOINHERIT')) ? ' NOINHERIT' : ''}`;

/**
 * What makes the `missing` roles as the globals describe them, for a server that already has `known`. RESTORE_FAILED when the
 * globals lack one. The `bootstrap` superuser of the source comes back as an owner only: this server has a first superuser of its
 * own, and a second one with the password of another server is nothing that a restore may bring. `limited` roles neither log in nor
 * become members of roles that the server has: a restore ordered by an attacker brings back no dropped superuser.
 */
export function roleStatements(
  globals: string,
  missing: readonly string[],
  known: ReadonlySet<string>,
  bootstrap: string | null,
  rights: RestoredRoles,
): RoleStatements {
  const statements = statementsOf(globals);
  const make: string[] = [];
  const adorn: string[] = [];
  for (const role of missing) {
    if (role === bootstrap) {
      make.push(`CREATE ROLE ${id(role)} NOLOGIN NOSUPERUSER`);
      continue;
    }
    const written = /^[a-z_][a-z0-9_$]*$/.test(role) ? [id(role), role] : [id(role)];
    const own = statements.filter((statement) =>
      written.some((name) => statement === `CREATE ROLE ${name}` || statement.startsWith(`ALTER ROLE ${name} WITH `)),
    );
    if (own.length === 0)
      throw new Failure('RESTORE_FAILED', `role "${role}" is missing on the server and in the globals of the backup`);
    make.push(...(rights === 'full' ? own : [limitedRole(role, own)]));
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
    const bringsRights = !made.has(nameOf(group));
    if (rights === 'limited' && bringsRights) continue;
    if (both.some((name) => made.has(name)) && both.every((name) => made.has(name) || known.has(name)))
      adorn.push(grant);
  }
  return { make, adorn };
}

/** What CREATE ROLE gives by itself. NOSUPERUSER, NOREPLICATION and NOBYPASSRLS may be written by superusers only. */
const DEFAULTS = new Set([
  'NOSUPERUSER',
  'INHERIT',
  'NOCREATEROLE',
  'NOCREATEDB',
  'NOLOGIN',
  'NOREPLICATION',
  'NOBYPASSRLS',
]);
const ATTRIBUTES = new RegExp(
  `^(ALTER ROLE ${NAME} WITH) ([A-Z ]*?) ?((?:CONNECTION LIMIT|PASSWORD|VALID UNTIL) [\\s\\S]*)?$`,
);

/** A statement without the password that it sets, which the code of a database must not read in its scratch server. */
export function withoutPassword(statement: string): string {
  const [, start, , attributes, rest] = ATTRIBUTES.exec(statement) ?? [];
  if (start === undefined || rest === undefined) return statement;
  const kept = rest.replace(/PASSWORD (?:NULL|'(?:[^']|'')*')/, '').trim();
  return [start, attributes, kept].filter((part) => part !== undefined && part !== '').join(' ');
}

/** The words of ALTER ROLE ... WITH. */
const attributesOf = (statement: string): string[] =>
  (ATTRIBUTES.exec(statement)?.[3] ?? '').split(' ').filter((word) => word !== '');

/** Those that give what a new role does not have. */
export const unusualAttributes = (statement: string): string[] =>
  attributesOf(statement).filter((word) => !DEFAULTS.has(word));

/** A statement of `make` without what a new role has anyway; none when nothing is left. */
export function withoutDefaults(statement: string): string[] {
  const [, start, , , rest] = ATTRIBUTES.exec(statement) ?? [];
  if (start === undefined) return [statement];
  const wanted = [...unusualAttributes(statement), ...(rest === undefined ? [] : [rest])];
  return wanted.length === 0 ? [] : [`${start} ${wanted.join(' ')}`];
}

/** Makes all of the missing roles or none; never changes one that is there. Returns a warning for everything that was left out. */
export async function makeRoles(session: Session, { make, adorn }: RoleStatements): Promise<Finding[]> {
  const warnings: Finding[] = [];
  const { all } = await session.one<{ all: boolean }>(
    'select rolsuper as all from pg_roles where rolname = current_user',
  );
  await session.run('begin');
  try {
    for (const statement of all ? make : make.flatMap(withoutDefaults)) await session.run(statement);
    for (const statement of adorn) {
      await session.run('savepoint adorn');
      try {
        await session.run(statement);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        await session.run('rollback to savepoint adorn');
        warnings.push(makeFinding('ROLE_STATEMENT_LEFT_OUT', null, { reason: error.message }));
      }
    }
    await session.run('commit');
    return warnings;
  } catch (error) {
    await session.run('rollback').catch(() => undefined);
    throw error;
  }
}
