import { DEFAULT_RESTORE_TESTS, type Engine, type EngineServices, Failure, failedProbe } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { z } from 'zod';
import { backup } from './backup.ts';
import { PHYSICAL } from './backup-methods.ts';
import { runPostgresCheck } from './checks.ts';
import { postgresConnectionSchema } from './connection-schema.ts';
import { listContents } from './list-contents.ts';
import { backupPhysical } from './physical/physical-backup.ts';
import { verifyPhysical } from './physical/verify-physical.ts';
import {
  isServerRestore,
  planServerRestore,
  REMOVE_COPY,
  removeCopy,
  restoreServer,
} from './point-in-time/restore-server.ts';
import { readRecoveryWindows } from './point-in-time/windows.ts';
import { restore } from './restore.ts';
import { makePlan } from './restore-plan.ts';
import { openServer } from './server.ts';
import type { Session } from './session.ts';
import { dropSetAside, type SetAside, setAsideDatabases } from './set-aside.ts';
import { undo } from './swap.ts';
import { sweep } from './sweep.ts';
import { checkLevel, verify } from './verify.ts';
import { WalStream } from './wal/wal-stream.ts';
import { walStreamOptionsSchema } from './wal/wal-stream-options.ts';

export { postgresMethods } from './backup-methods.ts';
export { postgresConnectionSchema } from './connection-schema.ts';

const setAsideFinding = ({ name, sizeBytes }: SetAside): Finding =>
  makeFinding(
    'SET_ASIDE_DATABASE',
    { kind: 'database', name },
    {
      size: sizeBytes === null ? 'unknown size' : `${Math.ceil(sizeBytes / 1_000_000)} MB`,
    },
  );

/** Failures have less detail while the server reports its errors in another language. */
const languageOf = ({ messages: { locale, untranslated } }: Session): Finding[] =>
  untranslated ? [] : [makeFinding('MESSAGES_TRANSLATED', null, { locale })];

function parseConfig<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new Failure('CONFIG_INVALID', z.prettifyError(parsed.error));
}

type PostgresServices = Pick<EngineServices, 'restoreFolders' | 'streamOptions' | 'restoredRoles' | 'restoreTests'>;

/** The driver of one PostgreSQL server. Throws CONFIG_INVALID when the connection is not valid. */
export function createPostgresEngine(connection: unknown, services: PostgresServices = { restoreFolders: {} }): Engine {
  const { restoreFolders, streamOptions, restoredRoles = 'limited', restoreTests = DEFAULT_RESTORE_TESTS } = services;
  const server = parseConfig(postgresConnectionSchema, connection);
  const stream =
    streamOptions === undefined ? null : new WalStream(server, parseConfig(walStreamOptionsSchema, streamOptions));
  const serverRestore = () => ({ connection: server, restoreFolders, observed: stream?.observed ?? null });
  return {
    name: 'postgres',
    ...(stream === null ? {} : { stream }),
    async recoveryWindows(source, context) {
      const { windows, newestBackup } = await readRecoveryWindows(source, stream?.observed ?? null, context);
      stream?.noteNewestBackup(newestBackup);
      return windows;
    },
    async identify(context) {
      await using opened = await openServer(server, context);
      const { systemId, databases } = opened.facts;
      return { systemId, contents: databases.map(({ name }) => name) };
    },
    async probe(context) {
      try {
        await using opened = await openServer(server, context);
        const { version, systemId, databases } = opened.facts;
        const setAside = await setAsideDatabases(opened.session);
        const sizeBytes = databases.reduce((sum, database) => sum + database.sizeBytes, 0);
        return {
          state: 'ok',
          version: version.text,
          systemId,
          sizeBytes,
          databases: [...databases],
          setAside,
          findings: [...opened.warnings, ...languageOf(opened.session), ...setAside.map(setAsideFinding)],
        };
      } catch (error) {
        return failedProbe(error);
      }
    },
    backup: (request, sink, context) =>
      request.method === PHYSICAL.method
        ? backupPhysical(server, request, stream?.isEnabled === true, sink, context)
        : backup(server, request, sink, context),
    checkLevel,
    listContents,
    verify: (level, source, context) =>
      source.manifest.method === PHYSICAL.method && level >= 2
        ? verifyPhysical(level, server, restoreTests, source, context)
        : verify(level, server, restoreTests, source, context),
    plan: async (request, source, context) =>
      isServerRestore(request)
        ? (await planServerRestore(serverRestore(), request, source, context)).summary
        : (await makePlan(server, request, source, context, restoredRoles)).summary,
    restore: (order, source, context) =>
      isServerRestore(order.request)
        ? restoreServer(serverRestore(), order, source, context)
        : restore(server, order, source, context, restoredRoles),
    dropSetAside: (name, context) => dropSetAside(server, name, context),
    undo: (restoreJobId, context) => undo(server, restoreJobId, context),
    check: (kind, options, context) => runPostgresCheck(server, kind, options, context.signal),
    compensationOf: (kind) => (kind === REMOVE_COPY ? (params) => removeCopy(params, restoreFolders) : null),
    sweep: (context, runningJobs) => sweep(server, restoreTests, context, runningJobs),
  };
}
