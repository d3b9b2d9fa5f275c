import { basename } from 'node:path';
import { Failure } from '@lastgood/core';
import { ToolFailure } from '@lastgood/host';
import { logRemedy, serverFailure } from './server-failure.ts';
import type { ToolReport } from './tool-messages.ts';

/** `exit status 1`, `SIGKILL` */
const ending = ({ exitCode, signal }: ToolFailure): string =>
  exitCode === null ? (signal ?? 'no exit status') : `exit status ${exitCode}`;

export interface ToolRun {
  /** The path or name of the tool. */
  readonly file: string;
  readonly report: ToolReport;
  readonly logFolder: string | null;
  /** What the tool was at, in words from its own archive or statements: `table "public.orders"`. */
  readonly at?: string | null;
}

/**
 * What it means that a client tool failed. Decided by how it ended and by what the server reported, never by text that is not known
 * word by word: DATABASE_UNREACHABLE, the code of the SQLSTATE, or TOOL_FAILED. Other failures (a full disk, an abort) stay as they are.
 */
export function toolFailure(error: unknown, { file, report, logFolder, at = null }: ToolRun): unknown {
  if (!(error instanceof ToolFailure)) return error;
  const tool = basename(file);
  const where = at === null ? '' : ` at ${at}`;
  // Killed from outside: what it printed before says nothing.
  if (error.signal !== null) return new ToolFailure(`${tool} ended with ${error.signal}${where}`, error);
  if (report.server !== null && report.server.sqlstate !== null)
    return serverFailure(report.server, { what: `${tool}${where}`, logFolder });
  if (report.lost)
    return new Failure('DATABASE_UNREACHABLE', `${tool} lost the connection to the server${where}`, {
      remedy: 'Check that the server runs and did not end sessions; its log names the reason. Then try again.',
    });
  if (report.server !== null) return serverFailure(report.server, { what: `${tool}${where}`, logFolder });
  const what = report.damaged ? `${tool} cannot read the archive` : `${tool} ended with ${ending(error)}`;
  return new ToolFailure(`${what}${where}`, error, report.damaged ? undefined : logRemedy(logFolder));
}

/** Whether the server reported the error without a SQLSTATE that is known: its message is in another language, or not known. */
export const isUnclassified = (report: ToolReport): boolean =>
  !report.lost && report.server !== null && report.server.sqlstate === null;
