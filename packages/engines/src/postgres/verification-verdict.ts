import { Failure } from '@lastgood/core';
import { ToolFailure } from '@lastgood/host';
import {
  type Finding,
  findingOfError,
  makeFinding,
  type VerificationFinding,
  type VerificationLevel,
} from '@lastgood/protocol';
import { LoadFailure } from './load.ts';
import { ServerFailure } from './messages/server-failure.ts';

/** SQLSTATEs of a server that ran out of something or was stopped: the test broke down, which says nothing about the backup. */
const BROKE_DOWN = /^(?:08|53|57P|58030)/;
const VERDICTS = ['BACKUP_CORRUPT', 'MANIFEST_INVALID', 'RESTORE_FAILED', 'TOOL_FAILED', 'DATABASE_ERROR'];

const brokeDown = (error: Failure): boolean =>
  error instanceof ToolFailure
    ? error.signal !== null
    : error instanceof ServerFailure && BROKE_DOWN.test(error.server.sqlstate ?? '');

/** The finding that a failure means: what the server refused, with its SQLSTATE, or the failure itself. */
function verdictOf(error: Failure): Finding {
  if (!(error instanceof ServerFailure)) return findingOfError(error.wireError, null);
  const refused = makeFinding('DUMP_REFUSED', null, { reason: error.message });
  const { sqlstate } = error.server;
  return sqlstate === null ? refused : { ...refused, params: { ...refused.params, sqlstate } };
}

const UNDEFINED_OBJECT = '42704';

/**
 * Whether a library that was not preloaded explains a refusal: an extension could not be made, or a parameter of a library is unknown
 * (db-D1). Any other refusal is a verdict, also when libraries are missing: most of them are needed by nothing in a dump.
 */
function lacksLibrary(error: ServerFailure): boolean {
  if (error instanceof LoadFailure && error.entry?.startsWith('EXTENSION ') === true) return true;
  const [object] = error.server.objects;
  return error.server.sqlstate === UNDEFINED_OBJECT && object?.kind === 'parameter' && object.name.includes('.');
}

/** Turns what means "this backup is bad" into a finding; anything else (no space, no tools, an abort, a test that broke down) stays a failure (E3, E9). */
export async function findingsOf(
  level: VerificationLevel,
  object: string | null,
  work: () => Promise<void>,
  missingLibraries: readonly string[] = [],
): Promise<VerificationFinding[]> {
  try {
    await work();
    return [];
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (['DATABASE_UNREACHABLE', 'NO_SPACE', 'TARGET_BUSY'].includes(error.code) || brokeDown(error))
      throw new Failure(
        error.code === 'RESTORE_FAILED' ? 'TOOL_FAILED' : error.code,
        `the restore test broke down: ${error.message}`,
        {
          cause: error,
          remedy: 'This says nothing about the backup: correct what the message names, then verify again.',
        },
      );
    if (!VERDICTS.includes(error.code)) throw error;
    if (error instanceof ServerFailure && error.server.lacks)
      throw new Failure('RESTORE_TEST_IMPOSSIBLE', `the scratch server lacks what the source has: ${error.message}`, {
        cause: error,
        remedy:
          'This says nothing about the backup: install what is missing beside the PostgreSQL of this host, then verify again.',
      });
    if (error instanceof ServerFailure && missingLibraries.length > 0 && lacksLibrary(error)) {
      const names = missingLibraries.join(', ');
      throw new Failure('RESTORE_TEST_IMPOSSIBLE', `the scratch server runs without ${names}: ${error.message}`, {
        cause: error,
        remedy: `This says nothing about the backup. The source preloads ${names}: install what is missing on this host, and name the libraries that you trust in connection.preloadLibraries of the agent file.`,
      });
    }
    return [{ level, object, ...verdictOf(error) }];
  }
}
