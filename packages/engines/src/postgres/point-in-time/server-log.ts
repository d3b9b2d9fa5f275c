import { readFile } from 'node:fs/promises';

/** One message of a server's log, from its structured form. */
export interface LogEntry {
  readonly severity: string;
  readonly sqlState: string;
  readonly message: string;
}
/** How a server writes its log so that it can be read without knowing a sentence. Before PostgreSQL 15 there is no JSON. */
export const logFormat = (majorVersion: number): 'jsonlog' | 'csvlog' => (majorVersion >= 15 ? 'jsonlog' : 'csvlog');

/** Columns of a csvlog. */
const [SEVERITY, SQL_STATE, MESSAGE] = [11, 12, 13] as const;

/** Reads what a server has logged so far; empty when it has not begun. Unfinished lines are left out. */
export async function readServerLog(path: string, format: 'jsonlog' | 'csvlog'): Promise<readonly LogEntry[]> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return format === 'jsonlog' ? text.split('\n').flatMap(fromJson) : csvRows(text).flatMap(fromCsv);
}

function fromJson(line: string): LogEntry[] {
  try {
    const { error_severity: severity, state_code: sqlState, message } = JSON.parse(line) as Record<string, unknown>;
    if (typeof severity !== 'string') return [];
    return [{ severity, sqlState: String(sqlState ?? ''), message: String(message ?? '') }];
  } catch {
    return [];
  }
}

function fromCsv(row: readonly string[]): LogEntry[] {
  const [severity, sqlState, message] = [row[SEVERITY], row[SQL_STATE], row[MESSAGE]];
  return severity === undefined || sqlState === undefined || message === undefined
    ? []
    : [{ severity, sqlState, message }];
}

function csvRows(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n)/g)) {
    row.push(quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'));
    if (end !== '\n') continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

/** The last message that ended the server or its start; null when there is none. */
export const fatalEntry = (entries: readonly LogEntry[]): LogEntry | null =>
  entries.findLast(({ severity }) => severity === 'FATAL' || severity === 'PANIC') ?? null;
