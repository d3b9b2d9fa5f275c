import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ArtifactSource, type EngineContext, Failure } from '@lastgood/core';
import { captureTool, runTool } from '@lastgood/host';
import type { ManifestObject } from '@lastgood/protocol';
import { conninfo, toolEnvironment } from './connection.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { redactToolLine, withoutRaised } from './redact-messages.ts';
import { withStallDetection } from './restore-stall-monitor.ts';
import type { ToolFolder } from './tools.ts';

const WEEK_MS = 7 * 86_400_000;
const MAX_LIST_BYTES = 512 * 1024 * 1024;

/** What pg_restore refused, in words that name the cause (F8). Nothing it says is ignored. */
export function explainRestoreError(message: string): string {
  const causes: readonly (readonly [RegExp, string])[] = [
    [/role "([^"]*)" does not exist/, 'a role is missing'],
    [
      /extension "([^"]*)" is not available|could not open extension control file/,
      'an extension is not installed on this server',
    ],
    [/tablespace "([^"]*)" does not exist/, 'a tablespace is missing'],
    [
      /violates (foreign key|check|unique|not-null|exclusion) constraint|could not create unique index/,
      'the data breaks a constraint of its own schema',
    ],
    [/permission denied|must be (owner|superuser)/, 'the role may not do this'],
    [/No space left on device|could not extend file/, 'the server has no space left'],
    [/server closed the connection|connection to server|terminating connection/, 'the server went away'],
    [/already exists/, 'an object is already there'],
    [
      /unsupported version|invalid input syntax|syntax error|unrecognized configuration parameter/,
      'the server does not understand the dump',
    ],
    [
      /end of file|invalid data|incorrect data check|did not find magic string|could not read/,
      'the archive is damaged',
    ],
  ];
  return causes.find(([pattern]) => pattern.test(message))?.[1] ?? 'pg_restore failed';
}

export interface LoadRequest {
  readonly connection: PostgresConnection;
  readonly tools: ToolFolder;
  readonly source: ArtifactSource;
  readonly dump: ManifestObject;
  readonly into: string;
  readonly args: readonly string[];
  /** For a database that others use: how long pg_restore may wait for one of their locks. */
  readonly lockWaitMs?: number;
}

/** The table of contents of a dump, a line for each entry. */
export async function listDump(
  { tools, source, dump, connection }: Pick<LoadRequest, 'tools' | 'source' | 'dump' | 'connection'>,
  signal: AbortSignal,
): Promise<string[]> {
  const { stdout } = await captureTool(
    {
      file: join(tools.path, 'pg_restore'),
      args: ['--list'],
      stdin: source.open(dump, signal),
      mayStopReading: true,
      signal,
      timeoutMs: WEEK_MS,
      stallMs: connection.stallMs,
      redactStderr: redactToolLine,
    },
    MAX_LIST_BYTES,
  );
  return stdout.split('\n');
}

/**
 * The entries of the dump without those that fill materialized views, as a file for pg_restore; null when there are none.
 * pg_restore fills them when the event triggers are there already, and without any search_path: `refreshMaterializedViews` does better.
 */
async function listWithoutFilling(request: LoadRequest, { signal, workDir }: EngineContext): Promise<string | null> {
  const entries = await listDump(request, signal);
  const kept = entries.filter((line) => !/^\d+; \d+ \d+ MATERIALIZED VIEW DATA /.test(line));
  if (kept.length === entries.length) return null;
  const file = join(workDir, `entries-${randomBytes(6).toString('hex')}`);
  await writeFile(file, kept.join('\n'), { mode: 0o600 });
  return file;
}

/** Streams one dump into a database, all or nothing where `args` ask for it; RESTORE_FAILED names what the server refused. Materialized views are left empty. */
export async function loadDump(request: LoadRequest, context: EngineContext): Promise<readonly string[]> {
  try {
    return await load(request, await listWithoutFilling(request, context), context);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'TOOL_FAILED') throw error;
    const message = withoutRaised(error.message);
    throw new Failure('RESTORE_FAILED', `${explainRestoreError(message)}: ${message}`);
  }
}

async function load(request: LoadRequest, list: string | null, context: EngineContext): Promise<readonly string[]> {
  const { connection, tools, source, dump, into, args, lockWaitMs } = request;
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
  try {
    const { stderrTail } = await withStallDetection(watched, context, (signal) =>
      runTool({
        file: join(tools.path, 'pg_restore'),
        args: ['--exit-on-error', '--no-password', `--dbname=${conninfo(into)}`, ...only, ...args],
        env: { ...toolEnvironment(connection, into), PGAPPNAME: application },
        stdin,
        signal,
        timeoutMs: WEEK_MS,
        redactStderr: redactToolLine,
      }),
    );
    return stderrTail;
  } finally {
    stdin.destroy();
  }
}
