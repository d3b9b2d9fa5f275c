import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { type Clock, Failure } from '@lastgood/core';
import { lockFolder, makePrivateFolder, writeFileDurably } from '@lastgood/host';
import { newToken } from './api/tokens.ts';
import { type Catalog, isLivingAdmin } from './catalog/catalog.ts';
import { openSqliteCatalog } from './catalog/sqlite-catalog.ts';
import { Fleet } from './fleet/fleet.ts';
import { HttpServer } from './http/server.ts';
import { CONTROL_LIMITS, type ControlLimits } from './limits.ts';
import type { Log } from './log.ts';

export interface ControlOptions {
  /** Everything the control plane keeps lies in this folder (mode 0700). */
  readonly dataDir: string;
  readonly host?: string;
  readonly port?: number;
  readonly clock: Clock;
  readonly log: Log;
  /** The data folder was put back from a copy: agents are asked for what they know before anything is sent to them. */
  /** Make a token for the administrator though a valid one exists: it was lost. */
  readonly newAdminToken?: boolean;
  readonly restored?: boolean;
  readonly limits?: Partial<ControlLimits>;
}
export interface Control {
  readonly url: string;
  readonly adminTokenFile: string;
  close(): Promise<void>;
}

/**
 * Makes a token for the administrator, in a file that only the owner of the folder can read: at the first start, and whenever
 * all that were made have expired, for otherwise nobody could get in any more.
 */
async function adminToken(catalog: Catalog, file: string, now: number, log: Log, wanted: boolean): Promise<void> {
  const tokens = await catalog.tokens();
  const living = tokens.some((token) => isLivingAdmin(token, now));
  if (living && !wanted) return;
  const { token, record } = newToken(
    { name: 'admin', kind: 'api', scope: 'admin', environment: null, host: null, expiresAt: null, usesLeft: null },
    now,
  );
  const entry = { at: now, actor: 'control', action: 'token.create', subject: 'admin', detail: `${record.id} admin` };
  // The file first: a crash between the two leaves a file with a token that is not valid, and the next start writes another.
  await writeFileDurably(file, `${token}\n`);
  await catalog.commit([
    { type: 'token', token: record },
    { type: 'audit', entry },
  ]);
  if (tokens.length > 0 && !living)
    log.warn({ file }, 'no living token of an administrator was left: a new one is in the file');
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host);

/** Starts the control plane. Throws ALREADY_RUNNING, DATA_FOLDER_UNSAFE, IO_ERROR; nothing is left open then. */
export async function startControl(options: ControlOptions): Promise<Control> {
  const { dataDir, host = '127.0.0.1', port = 0, clock, log } = options;
  const limits = { ...CONTROL_LIMITS, ...options.limits };
  await using cleanup = new AsyncDisposableStack();
  await makePrivateFolder(dataDir);
  cleanup.use(await lockFolder(dataDir));
  const catalog = await openSqliteCatalog(join(dataDir, 'catalog.sqlite'));
  cleanup.defer(() => catalog.close());
  const adminTokenFile = join(dataDir, 'admin.token');
  await adminToken(catalog, adminTokenFile, clock.now(), log, options.newAdminToken === true);
  const fleet = await Fleet.open(
    catalog,
    clock,
    log,
    limits.maintenanceMs,
    options.restored === true ? { incarnation: randomUUID() } : undefined,
  );
  cleanup.defer(() => fleet.close());
  const server = new HttpServer({ catalog, fleet, clock, log, limits });
  const bound = await server.listen(host, port).catch((error: unknown) => {
    throw new Failure('ALREADY_RUNNING', `port ${port} of ${host} cannot be taken`, {
      cause: error,
      remedy: 'Stop what listens there or give another --port.',
    });
  });
  const open = cleanup.move();
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${bound}`;
  log.info({ url, dataDir }, 'the control plane is up');
  if (!isLoopback(host))
    log.warn({ host }, 'listens on the network without TLS: tokens can be read on the way unless a proxy adds it');
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    fleet.close();
    await server.close();
    await open.disposeAsync();
    log.info({}, 'the control plane has stopped');
  };
  return {
    url,
    adminTokenFile,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
