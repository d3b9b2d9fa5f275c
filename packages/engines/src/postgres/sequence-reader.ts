import { Failure } from '@lastgood/core';
import type pg from 'pg';
import { hasSqlstate } from './messages/server-failure.ts';
import type { Session } from './session.ts';

/**
 * Names come from a snapshot, and what a statement reads is looked up when it runs: the owner of a database may meanwhile have put
 * a view in the place of a table or sequence, and its functions would run with our rights. With this setting the server refuses
 * views and foreign tables that are not its own. Servers have it since their minor releases of August 2024 (CVE-2024-7348).
 */
export const REFUSE_VIEWS =
  "select set_config(name, 'view, foreign-table', true) from pg_settings where name = 'restrict_nonsystem_relation_kind'";
const REFUSES_VIEWS =
  "select coalesce(current_setting('restrict_nonsystem_relation_kind', true), '') ~ 'view' as refuses";

/** Object not in prerequisite state: the code with which a view is refused, in whatever language. */
const VIEW_REFUSED = '55000';

const replaced = (name: string, cause?: unknown): Failure =>
  new Failure('SOURCE_CHANGED', `sequence ${name} was replaced while it was backed up`, { cause });

const standingOf = (name: string): string => `select last_value::text as value, is_called as called from ${name}`;

interface Standing extends pg.QueryResultRow {
  readonly value: string;
  readonly called: boolean;
}

export type SequenceReader = (name: string, oid: string) => Promise<Standing>;

/** Reads under the setting above: the server itself refuses what is not a relation of the expected kind. */
const underGuard =
  (session: Session): SequenceReader =>
  async (name) =>
    await session.one<Standing>(standingOf(name)).catch((error: unknown) => {
      throw hasSqlstate(error, VIEW_REFUSED) ? replaced(name, error) : error;
    });

/** For a server without the setting. PREPARE looks the name up and locks what it found, and runs nothing of it. */
const inTwoSteps =
  (session: Session): SequenceReader =>
  async (name, oid) => {
    await session.run(`prepare lastgood_read as ${standingOf(name)}`);
    const held = await session.rows(
      "select from pg_locks where locktype = 'relation' and pid = pg_backend_pid() and granted and relation = $1::oid",
      [oid],
    );
    if (held.length === 0) throw replaced(name);
    const standing = await session.one<Standing>('execute lastgood_read');
    await session.run('deallocate lastgood_read');
    return standing;
  };

/** Reads the position of a sequence, or throws SOURCE_CHANGED when its name is no longer that of the sequence of that oid. */
export async function sequenceReader(session: Session): Promise<SequenceReader> {
  const { refuses } = await session.one<{ refuses: boolean }>(REFUSES_VIEWS);
  return refuses ? underGuard(session) : inTwoSteps(session);
}
