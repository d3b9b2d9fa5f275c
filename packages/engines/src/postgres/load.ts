import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ArtifactSource, type EngineContext, Failure } from '@lastgood/core';
import { captureTool, runTool, ToolFailure } from '@lastgood/host';
import type { ManifestObject } from '@lastgood/protocol';
import type { PostgresConnection } from './connection-schema.ts';
import { logRemedy, ServerFailure } from './messages/server-failure.ts';
import type { ServerMessage } from './messages/server-message.ts';
import { toolFailure } from './messages/tool-failure.ts';
import { ToolMessages, type ToolReport } from './messages/tool-messages.ts';
import { withStallDetection } from './restore-stall-monitor.ts';
import { type MessageLanguage, Session } from './session.ts';
import { conninfo, toolEnvironment } from './tool-environment.ts';
import type { ToolFolder } from './tools.ts';

const WEEK_MS = 7 * 86_400_000;
const MAX_LIST_BYTES = 512 * 1024 * 1024;
const MAX_ENTRY_CHARS = 300;

/** RESTORE_FAILED: the server refused a statement of the dump. Decide by the SQLSTATE and by `lacks`. */
export class LoadFailure extends ServerFailure {
  /** The entry of the dump, as `pg_restore --list` writes it; null when it is not known. */
  readonly entry: string | null;
  constructor(message: string, server: ServerMessage, entry: string | null, remedy: string) {
    super('RESTORE_FAILED', message, server, remedy);
    this.entry = entry;
  }
}

/** The cause that a SQLSTATE means while a dump is loaded (F8). */
function causeOf({ sqlstate, lacks, objects }: ServerMessage): string {
  if (lacks) return 'the server lacks something that the source has';
  if (sqlstate === '42704' && objects[0]?.kind === 'role') return 'a role is missing';
  if (sqlstate === '42704' && objects[0]?.kind === 'tablespace') return 'a tablespace is missing';
  if (sqlstate === '42704' || sqlstate?.startsWith('42P') || sqlstate === '42601')
    return 'the server does not understand the dump';
  if (sqlstate?.startsWith('23')) return 'the data breaks a constraint of its own schema';
  if (sqlstate === '42501') return 'the role may not do this';
  if (sqlstate === '42710' || sqlstate === '42723') return 'an object exists already';
  return 'the server refused the dump';
}

export interface LoadRequest {
  readonly connection: PostgresConnection;
  readonly tools: ToolFolder;
  readonly source: ArtifactSource;
  readonly dump: ManifestObject;
  readonly into: string;
  readonly args: readonly string[];
  /** Which entries of the dump are loaded; all unless given. */
  readonly select?: (entry: string) => boolean;
  /** For a database that others use: how long pg_restore may wait for one of their locks. */
  readonly lockWaitMs?: number;
}

/** The table of contents of a dump, a line for each entry. */
export async function listDump(
  { tools, source, dump, connection }: Pick<LoadRequest, 'tools' | 'source' | 'dump' | 'connection'>,
  signal: AbortSignal,
): Promise<string[]> {
  const file = join(tools.path, 'pg_restore');
  const messages = new ToolMessages({ untranslated: true });
  const { stdout } = await captureTool(
    {
      file,
      args: ['--list'],
      stdin: source.open(dump, signal),
      mayStopReading: true,
      signal,
      timeoutMs: WEEK_MS,
      stallMs: connection.stallMs,
      redactStderr: messages.take,
    },
    MAX_LIST_BYTES,
  ).catch((error: unknown) => {
    throw toolFailure(error, { file, report: messages.report, logFolder: null });
  });
  return stdout.split('\n');
}

/** Writes entries of a dump as a list for pg_restore. Returns its path. */
export async function writeEntries(entries: readonly string[], workDir: string): Promise<string> {
  const file = join(workDir, `entries-${randomBytes(6).toString('hex')}`);
  await writeFile(file, entries.join('\n'), { mode: 0o600 });
  return file;
}

/**
 * The list of the entries to load, as a file for pg_restore; null when these are all. Those that fill materialized views are not among
 * them: pg_restore fills them when the event triggers exist already, and without any search_path. `refreshMaterializedViews` does better.
 */
async function listSelected(
  entries: readonly string[],
  select: (entry: string) => boolean,
  workDir: string,
): Promise<string | null> {
  const kept = entries.filter((line) => !/^\d+; \d+ \d+ MATERIALIZED VIEW DATA /.test(line) && select(line));
  return kept.length === entries.length ? null : await writeEntries(kept, workDir);
}

/** `TABLE DATA public orders shop_owner`, from the list that we read by ourselves: a number is all that the tool's messages give. */
function entryOf(entries: readonly string[], id: number | null): string | null {
  const line = id === null ? undefined : entries.find((each) => each.startsWith(`${id}; `));
  return line === undefined ? null : line.replace(/^\d+; \d+ \d+ /, '').slice(0, MAX_ENTRY_CHARS);
}

/**
 * Streams one dump into a database, all or nothing where `args` ask for it. RESTORE_FAILED names what the server refused. Materialized
 * views are left empty. Returns what the tool reported of a load that ended well.
 */
export async function loadDump(request: LoadRequest, context: EngineContext): Promise<ToolReport> {
  const { connection, tools, source, dump, into, args, lockWaitMs, select = () => true } = request;
  const entries = await listDump(request, context.signal);
  const list = await listSelected(entries, select, context.workDir);
  const { language, logFolder } = await messagesOf(connection, into, context.signal);
  const application = `lastgood load ${randomBytes(6).toString('hex')}`;
  const stdin = source.open(dump, context.signal);
  let doneBytes = 0;
  let movedAt = context.clock.monotonic();
  stdin.on('data', (chunk: Buffer) => {
    doneBytes += chunk.length;
    movedAt = context.clock.monotonic();
    context.progress({ phase: 'restore', doneBytes, totalBytes: dump.produced.size });
  });
  stdin.pause();
  const only = list === null ? [] : [`--use-list=${list}`];
  const watched = { connection, application, lockWaitMs: lockWaitMs ?? null, movedAt: () => movedAt };
  const messages = new ToolMessages(language);
  const file = join(tools.path, 'pg_restore');
  try {
    await withStallDetection(watched, context, (signal) =>
      runTool({
        file,
        // Only with --verbose it names the entry at which it ends.
        args: ['--verbose', '--exit-on-error', '--no-password', `--dbname=${conninfo(into)}`, ...only, ...args],
        env: {
          ...toolEnvironment(connection, into, { requestEnglish: language.mayRequestEnglish }),
          PGAPPNAME: application,
        },
        stdin,
        signal,
        timeoutMs: WEEK_MS,
        redactStderr: messages.take,
      }),
    );
    return messages.report;
  } catch (error) {
    const { report } = messages;
    const entry = entryOf(entries, report.entryId);
    throw explainLoadFailure(toolFailure(error, { file, report, logFolder, at: entry }), entry, logFolder);
  } finally {
    stdin.destroy();
  }
}

/** In which language the tools will get the messages of the server in this database. */
async function messagesOf(
  connection: PostgresConnection,
  database: string,
  signal: AbortSignal,
): Promise<{ language: MessageLanguage; logFolder: string | null }> {
  await using session = await Session.open(connection, database, signal);
  return { language: session.messages, logFolder: session.logFolder };
}

/** What a server refuses here is the restore's failure. That it went away, is full or busy stays what it is. */
function explainLoadFailure(failure: unknown, entry: string | null, logFolder: string | null): unknown {
  if (failure instanceof ServerFailure) {
    if (['DATABASE_UNREACHABLE', 'NO_SPACE', 'TARGET_BUSY'].includes(failure.code)) return failure;
    const message = `${causeOf(failure.server)}: ${failure.message}`;
    const isViolation = failure.server.sqlstate?.startsWith('23') === true;
    const remedy = isViolation
      ? 'Restore with --accept-invalid-constraints to bring the rows back with such foreign keys and checks as NOT VALID.'
      : logRemedy(logFolder);
    return new LoadFailure(message, failure.server, entry, `The old data is untouched. ${remedy}`);
  }
  // A tool that a signal ended says nothing about the dump.
  if (failure instanceof ToolFailure && failure.signal === null)
    return new Failure('RESTORE_FAILED', failure.message, { remedy: `The old data is untouched. ${failure.remedy}` });
  return failure;
}
