import { join } from 'node:path';
import { PassThrough, type Readable, Transform, type TransformCallback } from 'node:stream';
import { type ArtifactSink, type EngineContext, Failure } from '@lastgood/core';
import { captureTool, runTool } from '@lastgood/host';
import { ArchiveWalker } from './archive-walker.ts';
import { conninfo, toolEnvironment } from './connection.ts';
import type { PostgresConnection } from './connection-schema.ts';
import type { Properties } from './properties.ts';
import type { Server } from './server.ts';
import type { ToolFolder } from './tools.ts';

const DAY_MS = 86_400_000;
const MAX_WARNINGS = 20;
const MAX_WARNING_CHARS = 300;
const GLOBALS_END = '-- PostgreSQL database cluster dump complete';

/** What a failed pg_dump means for the person who reads it. */
export function classifyDumpFailure(error: unknown): unknown {
  if (!(error instanceof Failure) || error.code !== 'TOOL_FAILED') return error;
  const { message } = error;
  if (/permission denied|row-level security|must be owner/i.test(message))
    return new Failure('DATABASE_REFUSED', message, { cause: error });
  if (
    /could not connect|connection to server .* failed|server closed the connection|terminating connection/i.test(
      message,
    )
  )
    return new Failure('DATABASE_UNREACHABLE', message, { cause: error });
  if (/canceling statement due to (lock|statement) timeout/i.test(message))
    return new Failure('TOOL_FAILED', `the dump waited too long for a lock and gave way: ${message}`, {
      cause: error,
    });
  if (
    /(relation|table|schema|column|type|function) .* does not exist|cache lookup failed|could not open relation|access to non-system (view|foreign table)|cannot copy from (view|foreign table|sequence)/i.test(
      message,
    )
  )
    return new Failure('SOURCE_CHANGED', message, { cause: error });
  return error;
}

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
  const { stdout } = await captureTool(
    {
      file: join(tools.path, 'pg_restore'),
      args: ['--list'],
      stdin: archive,
      mayStopReading: true,
      signal,
      timeoutMs: DAY_MS,
      stallMs,
    },
    512 * 1024 * 1024,
  );
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

/** The last words of a tool that ended well, for the manifest (A4): few and short, whatever it said. */
const warningsOf = (tool: string, stderrTail: readonly string[]): string[] =>
  stderrTail
    .filter((line) => line.trim() !== '')
    .slice(-MAX_WARNINGS)
    .map((line) => (line.startsWith(tool) ? line : `${tool}: ${line}`).slice(0, MAX_WARNING_CHARS));

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

/**
 * The archive of one snapshot, into the repository. It is kept only when pg_dump ended well, every block that its table of
 * contents announces was seen to its end, and every table of the snapshot is among them (A1, A2, A3). That its rows are those of
 * the source is proven by verification, from level 4 on.
 */
export async function dumpSnapshot(
  { connection, server, sink, context }: BackupRun,
  { database, encoding }: Pick<Properties, 'database' | 'encoding'>,
  snapshot: string,
  tables: ReadonlyMap<string, string>,
  watcher: DumpWatcher,
): Promise<string[]> {
  const args = [
    '--format=custom',
    '--compress=0',
    '--no-password',
    // That of the database: what a role or database sets for its clients need not have room for every character.
    `--encoding=${encoding}`,
    `--lock-wait-timeout=${connection.lockWaitMs}`,
    `--snapshot=${snapshot}`,
  ];
  let warnings: string[] = [];
  await sink.add({ role: 'dump', contents: database, extension: 'dump' }, async (out) => {
    const tee = new Tee(watcher.bytes);
    const listing = countDataEntries(server.tools, tee.head, context.signal, connection.stallMs);
    listing.catch(() => undefined);
    try {
      const { stderrTail } = await runTool(
        {
          file: join(server.tools.path, 'pg_dump'),
          args,
          env: toolEnvironment(connection, database),
          signal: context.signal,
          timeoutMs: 14 * DAY_MS,
          stallMs: connection.stallMs,
        },
        tee,
        out,
      );
      warnings = [...warningsOf('pg_dump', stderrTail), ...checkArchive(tee.walker, tables)];
      const entries = await listing;
      if (entries < tables.size)
        throw new Failure(
          'TOOL_FAILED',
          `the dump lists ${entries} tables with rows, the snapshot holds ${tables.size}`,
        );
      watcher.ended();
    } catch (error) {
      tee.destroy();
      tee.head.destroy();
      await listing.catch(() => undefined);
      throw classifyDumpFailure(error);
    }
  });
  return warnings.map((warning) => `${database}: ${warning}`.slice(0, MAX_WARNING_CHARS));
}

function checkArchive(walker: ArchiveWalker, tables: ReadonlyMap<string, string>): string[] {
  const missing = walker.missing();
  if (missing !== null)
    throw new Failure('TOOL_FAILED', `pg_dump ended well, but its archive is not whole: ${missing}`);
  if (walker.unknownFormat !== null)
    return [
      `archive format ${walker.unknownFormat} is not known: that it is whole is proven from verification level 2 on`,
    ];
  for (const [oid, name] of tables)
    if (!walker.tables.has(oid)) throw new Failure('TOOL_FAILED', `the dump lacks table ${name} of its own snapshot`);
  return [];
}

export interface GlobalsFacts {
  readonly warnings: readonly string[];
  /** Of the database from which they were read: names of roles are bytes that all databases of a server share. */
  readonly encoding: string;
}

/** Roles, memberships and tablespaces, as UTF-8; with password verifiers when the role may read them. */
export async function dumpGlobals({ connection, server, sink, context }: BackupRun): Promise<GlobalsFacts> {
  const { passwords, encoding } = await server.session.one<{ passwords: boolean; encoding: string }>(
    "select has_table_privilege('pg_catalog.pg_authid', 'select') as passwords, current_setting('server_encoding') as encoding",
  );
  const args = [
    '--globals-only',
    '--no-password',
    // Bytes of SQL_ASCII are in no encoding that is known: they are taken as they are.
    `--encoding=${encoding === 'SQL_ASCII' ? encoding : 'UTF8'}`,
    `--database=${conninfo(connection.database)}`,
    ...(passwords ? [] : ['--no-role-passwords']),
  ];
  const warnings = passwords ? [] : ['the role may not read pg_authid: roles are kept without passwords'];
  await sink.add({ role: 'globals', contents: null, extension: 'sql' }, async (out) => {
    const env = toolEnvironment(connection, connection.database);
    const end = new TextEnd();
    const { stderrTail } = await runTool(
      {
        file: join(server.tools.path, 'pg_dumpall'),
        args,
        env,
        signal: context.signal,
        timeoutMs: DAY_MS,
        stallMs: connection.stallMs,
      },
      end,
      out,
    ).catch((error: unknown) => {
      throw classifyDumpFailure(error);
    });
    if (!end.text.includes(GLOBALS_END))
      throw new Failure('TOOL_FAILED', 'pg_dumpall ended well, but its output lacks its last line');
    warnings.push(...warningsOf('pg_dumpall', stderrTail));
  });
  return { warnings, encoding };
}
