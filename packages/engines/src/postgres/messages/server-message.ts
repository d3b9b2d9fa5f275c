import type pg from 'pg';
import { CONDITION_NAMES } from './condition-names.ts';
import { matchTemplate, type NamedObject } from './message-templates.ts';

/**
 * What may leave the host of an error that PostgreSQL reported: its SQLSTATE and names from the catalogs. The text of a message is
 * never passed on: it is in the server's language, may quote rows and secrets, and is free text where a function raised it (I8).
 */
export interface ServerMessage {
  /** Null when a tool reported the error in a form that does not tell. */
  readonly sqlstate: string | null;
  readonly objects: readonly NamedObject[];
  /** A function, trigger or view of the database reported it, not the server by itself. */
  readonly inCode: boolean;
  /** The server lacks a library, a locale or a build option that the statement needs. */
  readonly lacks: boolean;
  /** The line of the data of a COPY, counted from 1. */
  readonly line: number | null;
}

export const UNKNOWN_MESSAGE: ServerMessage = { sqlstate: null, objects: [], inCode: false, lacks: false, line: null };

const LONGEST_NAME = 200;
const RAISED = 'P0001';

function structuredObjects({ schema, table, column, constraint, dataType }: pg.DatabaseError): NamedObject[] {
  const qualified = (name: string): string => (schema === undefined ? name : `${schema}.${name}`);
  return [
    ...(constraint === undefined ? [] : [{ kind: 'constraint', name: constraint }]),
    ...(column === undefined ? [] : [{ kind: 'column', name: column }]),
    ...(table === undefined ? [] : [{ kind: 'table', name: qualified(table) }]),
    ...(dataType === undefined ? [] : [{ kind: 'type', name: qualified(dataType) }]),
  ];
}

/**
 * Takes from an error of a session what may leave the host. Names come from the fields of the error, or from the text of a message
 * in English (`untranslated`) that is known word by word. An error with a context was reported by code of the database, which can
 * put anything into any field: only its SQLSTATE counts.
 */
export function readDatabaseError(error: pg.DatabaseError, untranslated: boolean): ServerMessage {
  const sqlstate = error.code ?? null;
  if (error.where !== undefined || sqlstate === RAISED) return { ...UNKNOWN_MESSAGE, sqlstate, inCode: true };
  const known = untranslated ? matchTemplate(error.message) : undefined;
  const structured = structuredObjects(error);
  return {
    sqlstate,
    objects: structured.length > 0 ? structured : (known?.objects ?? []),
    inCode: false,
    lacks: known?.lacks === true,
    line: null,
  };
}

/** `check violation: constraint "sane", table "public.orders" (SQLSTATE 23514)` */
export function describeServerMessage({ sqlstate, objects, inCode, line }: ServerMessage): string {
  if (sqlstate === null)
    return inCode ? 'a function of the database reported an error' : 'the server reported an error';
  const state = `(SQLSTATE ${sqlstate})`;
  if (sqlstate === RAISED) return `a function of the database raised an exception ${state}`;
  const condition = CONDITION_NAMES[sqlstate] ?? 'error';
  const names = objects.map(({ kind, name }) => `${kind} "${name.slice(0, LONGEST_NAME)}"`);
  const details = [...names, ...(line === null ? [] : [`line ${line}`])];
  const where = inCode ? ' in a function of the database' : '';
  return `${condition}${where}${details.length === 0 ? '' : `: ${details.join(', ')}`} ${state}`;
}
