import type { FindingDefinition } from './finding-definition.ts';

/** What a check of the agent file finds. */
export const CHECK_FINDINGS = {
  CHECK_MIGRATION_FAILED: {
    severity: 'error',
    message: 'migration {version} of {subject} has failed',
    remedy: 'Repair the schema with Flyway, then run the check again.',
  },
  CHECK_MIGRATION_MISSING: {
    severity: 'error',
    message: 'the newest migration of {subject} is {found}, and {expected} is expected',
    remedy: 'Migrate the database, or restore a newer recovery point.',
  },
  CHECK_NO_CONNECTION: {
    severity: 'error',
    message: '{what} cannot be reached: {reason}',
    remedy: 'Check that it runs, and read its log.',
  },
  CHECK_TOO_FEW: {
    severity: 'error',
    message: '{what}: {found:count} found, at least {least:count} expected',
    remedy: 'Check that the right recovery point was restored.',
  },
  CHECK_VALUE: {
    severity: 'error',
    message: '{what} is {found}, and {expected} is expected',
    remedy: 'Find out why in the log of the server or application.',
  },
} as const satisfies Record<string, FindingDefinition>;
