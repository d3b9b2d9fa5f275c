import type { EngineContext, RestoreTestLimits, ServiceControl } from '@lastgood/core';
import { Failure } from '@lastgood/core';
import type { Compensation, StepParams } from '@lastgood/protocol';
import { z } from 'zod';
import { addressOf, type RedisConnection } from './connection-schema.ts';
import { readinessProbe } from './readiness.ts';
import { discardStaged, listManagedFolders, type RestoreFilesRequest, returnFiles } from './restore-files.ts';

const filesSchema = z.object({
  dir: z.string(),
  rdbName: z.string(),
  appendFolderName: z.string(),
  appendFilename: z.string(),
});
const requestSchema = z.object({ files: filesSchema, restoreId: z.string() });

/** A server with what the agent file says about it. Restores stop and start it. */
export interface ManagedServer {
  readonly connection: RedisConnection;
  /** Null when the agent file names none. */
  readonly service: ServiceControl | null;
  readonly restoreTests: RestoreTestLimits;
}

function requireService({ service }: ManagedServer): ServiceControl {
  if (service !== null) return service;
  throw new Failure('CONFIG_INVALID', 'the agent file does not name the service of the target', {
    remedy: 'Add `service` to the target in the agent file, on the host.',
  });
}

export async function stopServer(server: ManagedServer, { signal }: EngineContext): Promise<void> {
  const { connection } = server;
  await requireService(server).stop({ deadlineMs: connection.snapshotMs, signal, isReady: readinessProbe(connection) });
}

const DOWN_WITHIN_MS = 5_000;

/**
 * Makes sure that a server at whose address nothing listens does not run: the address may be wrong, and a server that is stopped for a failing
 * restore would not be started again. Throws DATABASE_REFUSED while its service is not down.
 */
export async function requireDown(server: ManagedServer, { signal }: EngineContext): Promise<void> {
  const { connection } = server;
  const call = { deadlineMs: DOWN_WITHIN_MS, signal, isReady: readinessProbe(connection) };
  await requireService(server)
    .waitUntilDown(call)
    .catch((error: unknown) => {
      if (!(error instanceof Failure) || error.code !== 'SERVICE_TIMEOUT') throw error;
      throw new Failure(
        'DATABASE_REFUSED',
        `nothing listens at ${addressOf(connection)}, but the service is not down`,
        {
          cause: error,
          remedy: 'Check the address of the target. If the service is started again and again, stop it first.',
        },
      );
    });
}

/** Starts the server and waits until it has loaded its data. */
export async function startServer(server: ManagedServer, { signal }: EngineContext): Promise<void> {
  const { connection } = server;
  await requireService(server).start({
    deadlineMs: connection.snapshotMs,
    signal,
    isReady: readinessProbe(connection),
  });
}

/** True while files of this restore are between the data folder and the set-aside folder. */
async function hasMoved({ files, restoreId }: RestoreFilesRequest): Promise<boolean> {
  const folders = await listManagedFolders(files.dir);
  return folders.some((each) => each.restoreId === restoreId && (each.kind === 'aside' || each.kind === 'return'));
}

type Handler = (params: StepParams, server: ManagedServer, context: EngineContext) => Promise<void>;

/**
 * How the steps of a restore or an undo are taken back. After a crash something else may have started the server in the meantime: so it is
 * stopped before its files are moved. The step that had stopped it is taken back after that, and starts it again.
 */
const HANDLERS = {
  'discard-staged-files': async (params) => await discardStaged(requestSchema.parse(params)),
  'return-files': async (params, server, context) => {
    const request = requestSchema.parse(params);
    if (await hasMoved(request)) {
      await stopServer(server, context);
      await returnFiles(request);
    }
  },
  'start-server': async (_params, server, context) => await startServer(server, context),
  'stop-server': async (_params, server, context) => await stopServer(server, context),
} as const satisfies Record<string, Handler>;
type Kind = keyof typeof HANDLERS;
const isKind = (kind: string): kind is Kind => Object.hasOwn(HANDLERS, kind);

/** A compensation of this engine. */
export const takeBackBy = (kind: Kind, params: RestoreFilesRequest | null): Compensation => ({
  kind,
  params: params === null ? null : { files: { ...params.files }, restoreId: params.restoreId },
});

export function compensationOf(
  kind: string,
  server: ManagedServer,
): ((params: StepParams, context: EngineContext) => Promise<void>) | null {
  if (!isKind(kind)) return null;
  const handle: Handler = HANDLERS[kind];
  return (params, context) => handle(params, server, context);
}
