import { join } from 'node:path';
import { type ArtefactSource, type EngineContext, Failure } from '@lastgood/core';
import { runTool } from '@lastgood/host';
import type { ManifestObject } from '@lastgood/protocol';
import { conninfo, type PostgresConnection, toolEnvironment } from './connection.ts';
import type { ToolFolder } from './tools.ts';

const WEEK_MS = 7 * 86_400_000;
const STALL_MS = 6 * 3_600_000;

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
  readonly source: ArtefactSource;
  readonly dump: ManifestObject;
  readonly into: string;
  readonly args: readonly string[];
}

/** Streams one dump into a database, all or nothing where `args` ask for it; RESTORE_FAILED names what the server refused. */
export async function loadDump(
  { connection, tools, source, dump, into, args }: LoadRequest,
  context: EngineContext,
): Promise<readonly string[]> {
  let doneBytes = 0;
  const stdin = source.open(dump, context.signal);
  stdin.on('data', (chunk: Buffer) => {
    doneBytes += chunk.length;
    context.progress({ phase: 'restore', doneBytes, totalBytes: dump.produced.size });
  });
  stdin.pause();
  try {
    const { stderrTail } = await runTool({
      file: join(tools.path, 'pg_restore'),
      args: ['--exit-on-error', '--no-password', `--dbname=${conninfo(into)}`, ...args],
      env: toolEnvironment(connection, into),
      stdin,
      signal: context.signal,
      timeoutMs: WEEK_MS,
      stallMs: STALL_MS,
    });
    return stderrTail;
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'TOOL_FAILED') throw error;
    throw new Failure('RESTORE_FAILED', `${explainRestoreError(error.message)}: ${error.message}`, { cause: error });
  } finally {
    stdin.destroy();
  }
}
