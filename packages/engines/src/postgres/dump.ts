import { join } from 'node:path';
import { PassThrough, type Readable, Transform, type TransformCallback } from 'node:stream';
import { type ArtifactSink, type EngineContext, Failure, unreachable } from '@lastgood/core';
import { captureTool, runTool } from '@lastgood/host';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { ArchiveWalker } from './archive-walker.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { explainDumpFailure } from './dump-failure.ts';
import { toolFailure } from './messages/tool-failure.ts';
import { ToolMessages, type ToolReport } from './messages/tool-messages.ts';
import type { Properties } from './properties.ts';
import type { Server } from './server.ts';
import type { Session } from './session.ts';
import { conninfo, toolEnvironment } from './tool-environment.ts';
import type { ToolFolder } from './tools.ts';

const DAY_MS = 86_400_000;
const MAX_WARNINGS = 20;
const GLOBALS_END = '-- PostgreSQL database cluster dump complete';

/** Counts what passes, follows it as an archive, and gives a copy of the head to a reader, for as long as the reader takes it. */
class Tee extends Transform {
  readonly head = new PassThrough({ highWaterMark: 1024 * 1024 });
  readonly walker = new ArchiveWalker();
  readonly #onBytes: (bytes: number) => void;
  constructor(onBytes: (bytes: number) => void) {
    super({ highWaterMark: 1024 * 1024 });
    this.#onBytes = onBytes;
    this.head.on('error', () => undefined);
  }
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    try {
      this.walker.push(chunk);
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.#onBytes(chunk.length);
    if (this.head.destroyed || this.head.write(chunk)) {
      done(null, chunk);
      return;
    }
    const resume = (): void => {
      this.head.off('drain', resume).off('close', resume);
      done(null, chunk);
    };
    this.head.once('drain', resume).once('close', resume);
  }
  override _flush(done: TransformCallback): void {
    this.head.end();
    done();
  }
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // At a good end the reader of the head may still be behind.
    if (error !== null) this.head.destroy();
    done(error);
  }
}

/** Entries of an archive's table of contents that carry rows; read from the head of the archive alone. */
export async function countDataEntries(
  tools: ToolFolder,
  archive: Readable,
  signal: AbortSignal,
  stallMs: number,
): Promise<number> {
  const file = join(tools.path, 'pg_restore');
  const messages = new ToolMessages({ untranslated: true });
  const { stdout } = await captureTool(
    {
      file,
      args: ['--list'],
      stdin: archive,
      mayStopReading: true,
      signal,
      timeoutMs: DAY_MS,
      stallMs,
      redactStderr: messages.take,
    },
    512 * 1024 * 1024,
  ).catch((error: unknown) => {
    throw toolFailure(error, { file, report: messages.report, logFolder: null });
  });
  return stdout.split('\n').filter((line) => /^\d+; \d+ \d+ (TABLE|MATERIALIZED VIEW) DATA /.test(line)).length;
}

/** Passes text on and keeps its end. */
class TextEnd extends Transform {
  #end = Buffer.alloc(0);
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#end = Buffer.concat([this.#end, chunk]).subarray(-1024);
    done(null, chunk);
  }
  get text(): string {
    return this.#end.toString('latin1');
  }
}

/** What a tool that ended well warned of (A4): what is known word by word, and the number of its other lines. */
function warningsOf(tool: string, database: string, { warnings, otherWarnings }: ToolReport): Finding[] {
  const known = warnings.slice(0, MAX_WARNINGS).map((warning) => {
    switch (warning.type) {
      case 'circularForeignKeys':
        return makeFinding('CIRCULAR_FOREIGN_KEYS', { kind: 'table', name: warning.table }, { database });
      case 'subscriptionsLeftOut':
        return makeFinding('SUBSCRIPTIONS_LEFT_OUT', { kind: 'database', name: database });
      case 'collationVersion':
        return makeFinding('COLLATION_VERSION_MISMATCH', { kind: 'database', name: warning.database });
      default:
        return unreachable(warning);
    }
  });
  if (otherWarnings === 0) return known;
  return [
    ...known,
    makeFinding('TOOL_OUTPUT_LEFT_OUT', { kind: 'database', name: database }, { tool, lines: otherWarnings }),
  ];
}

/** What every step of one backup needs. */
export interface BackupRun {
  readonly connection: PostgresConnection;
  readonly server: Server;
  readonly digests: boolean;
  readonly sink: ArtifactSink;
  readonly context: EngineContext;
}

export interface DumpWatcher {
  /** So many more bytes came. */
  bytes(count: number): void;
  /** pg_dump has ended well, and its archive is whole; what it wrote is still to be made durable and read back. */
  ended(): void;
}

/** What is dumped: one snapshot of one database. */
export interface Snapshot {
  /** A session in the database; it exported the snapshot. */
  readonly session: Session;
  readonly properties: Pick<Properties, 'database' | 'encoding'>;
  readonly name: string;
  /** Every table whose rows the dump must hold, by oid. */
  readonly tables: ReadonlyMap<string, string>;
}

/**
 * Writes the archive of one snapshot into the repository. It is kept only when pg_dump ended well, every block that its table of
 * contents announces was seen to its end, and every table of the snapshot is among them (A1, A2, A3). Whether its rows are those of
 * the source is checked by verification, from level 4 on.
 */
export async function dumpSnapshot(run: BackupRun, snapshot: Snapshot, watcher: DumpWatcher): Promise<Finding[]> {
  const { connection, server, sink, context } = run;
  const { database, encoding } = snapshot.properties;
  const { messages: language, logFolder } = snapshot.session;
  const file = join(server.tools.path, 'pg_dump');
  const args = [
    '--format=custom',
    '--compress=0',
    '--no-password',
    // That of the database: an encoding that a role or database sets for its clients may lack some characters.
    `--encoding=${encoding}`,
    `--lock-wait-timeout=${connection.lockWaitMs}`,
    `--snapshot=${snapshot.name}`,
  ];
  let warnings: Finding[] = [];
  await sink.add({ role: 'dump', contents: database, extension: 'dump' }, async (out) => {
    const tee = new Tee(watcher.bytes);
    const listing = countDataEntries(server.tools, tee.head, context.signal, connection.stallMs);
    listing.catch(() => undefined);
    const messages = new ToolMessages(language);
    try {
      await runTool(
        {
          file,
          args,
          env: toolEnvironment(connection, database, { requestEnglish: language.mayRequestEnglish }),
          signal: context.signal,
          timeoutMs: 14 * DAY_MS,
          stallMs: connection.stallMs,
          redactStderr: messages.take,
        },
        tee,
        out,
      );
      warnings = [
        ...warningsOf('pg_dump', database, messages.report),
        ...checkArchive(tee.walker, database, snapshot.tables),
      ];
      const entries = await listing;
      if (entries < snapshot.tables.size)
        throw new Failure(
          'TOOL_FAILED',
          `the dump lists ${entries} tables with rows, the snapshot holds ${snapshot.tables.size}`,
        );
      watcher.ended();
    } catch (error) {
      tee.destroy();
      tee.head.destroy();
      await listing.catch(() => undefined);
      const { report } = messages;
      const at = report.relation === null ? null : `relation ${report.relation}`;
      throw await explainDumpFailure(
        error,
        { file, report, logFolder, at },
        { connection, database, tables: snapshot.tables },
        context,
      );
    }
  });
  return warnings;
}

/** Throws what the archive lacks; returns a warning when its format is not known. */
function checkArchive(walker: ArchiveWalker, database: string, tables: ReadonlyMap<string, string>): Finding[] {
  const missing = walker.missing();
  if (missing !== null)
    throw new Failure('TOOL_FAILED', `pg_dump ended with exit status 0, but its archive is not whole: ${missing}`);
  if (walker.unknownFormat !== null)
    return [
      makeFinding('ARCHIVE_FORMAT_UNKNOWN', { kind: 'database', name: database }, { format: walker.unknownFormat }),
    ];
  for (const [oid, name] of tables)
    if (!walker.tables.has(oid)) throw new Failure('TOOL_FAILED', `the dump lacks table ${name} of its own snapshot`);
  return [];
}

export interface GlobalsFacts {
  readonly warnings: readonly Finding[];
  /** Of the database from which they were read: names of roles are bytes that all databases of a server share. */
  readonly encoding: string;
}

/** Roles, memberships and tablespaces, as UTF-8; with password verifiers when the role may read them. */
export async function dumpGlobals({ connection, server, sink, context }: BackupRun): Promise<GlobalsFacts> {
  const { passwords, encoding } = await server.session.one<{ passwords: boolean; encoding: string }>(
    "select has_table_privilege('pg_catalog.pg_authid', 'select') as passwords, current_setting('server_encoding') as encoding",
  );
  const { messages: language, logFolder } = server.session;
  const file = join(server.tools.path, 'pg_dumpall');
  const args = [
    '--globals-only',
    '--no-password',
    // Bytes of SQL_ASCII are in no encoding that is known: they are taken as they are.
    `--encoding=${encoding === 'SQL_ASCII' ? encoding : 'UTF8'}`,
    `--database=${conninfo(connection.database)}`,
    ...(passwords ? [] : ['--no-role-passwords']),
  ];
  const warnings = passwords ? [] : [makeFinding('ROLE_PASSWORDS_LEFT_OUT', null)];
  await sink.add({ role: 'globals', contents: null, extension: 'sql' }, async (out) => {
    const env = toolEnvironment(connection, connection.database, { requestEnglish: language.mayRequestEnglish });
    const end = new TextEnd();
    const messages = new ToolMessages(language);
    await runTool(
      {
        file,
        args,
        env,
        signal: context.signal,
        timeoutMs: DAY_MS,
        stallMs: connection.stallMs,
        redactStderr: messages.take,
      },
      end,
      out,
    ).catch(async (error: unknown) => {
      const source = { connection, database: connection.database, tables: new Map<string, string>() };
      throw await explainDumpFailure(error, { file, report: messages.report, logFolder }, source, context);
    });
    if (!end.text.includes(GLOBALS_END))
      throw new Failure('TOOL_FAILED', 'pg_dumpall ended with exit status 0, but its output lacks its last line');
    warnings.push(...warningsOf('pg_dumpall', connection.database, messages.report));
  });
  return { warnings, encoding };
}
