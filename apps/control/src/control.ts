import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { type Clock, Failure } from '@lastgood/core';
import { lockFolder, makePrivateFolder, writeFileDurably } from '@lastgood/host';
import { newToken } from './api/new-token.ts';
import { SignInCodes } from './api/sign-in-codes.ts';
import { openAutomation } from './automation.ts';
import type { Catalog } from './catalog/catalog.ts';
import { putBackCopy } from './catalog/catalog-copies.ts';
import { openSqliteCatalog } from './catalog/sqlite-catalog.ts';
import { isValidAdmin } from './catalog/tokens.ts';
import { LedgerStore } from './dispatch/ledger-store.ts';
import { Maintenance } from './dispatch/maintenance.ts';
import { DashboardFiles } from './http/dashboard-files.ts';
import { HttpServer } from './http/server.ts';
import { CONTROL_LIMITS, type ControlLimits } from './limits.ts';
import type { Log } from './log.ts';
import { JobCounter } from './metrics/job-counter.ts';
import { type NotifyConfig, notifyConfigSchema } from './notify/notify-config.ts';
import { AgentRegistry } from './sessions/agent-registry.ts';

export interface ControlOptions {
  /** Everything the control plane keeps lies in this folder (mode 0700). */
  readonly dataDir: string;
  readonly host?: string;
  readonly port?: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Create an admin token although a valid one exists, because that one was lost. */
  readonly newAdminToken?: boolean;
  /** The data folder was restored from a copy: the journals of the agents are merged before anything is sent to them. */
  readonly restored?: boolean;
  /** A copy that is put in the place of the catalog first. Implies `restored`. */
  readonly restoreCopy?: string;
  /** The folder of the daily copies of the catalog; `copies` in the data folder unless given. */
  readonly copiesDir?: string;
  /** Where notifications go; without it they wait in the outbox. */
  readonly notify?: NotifyConfig;
  /** The folder of the built dashboard; without it none is served. */
  readonly dashboardDir?: string;
  readonly limits?: Partial<ControlLimits>;
}
export interface Control {
  readonly url: string;
  readonly adminTokenFile: string;
  close(): Promise<void>;
}

/**
 * Creates an admin token in a file that only the owner of the folder can read: at the first start, and whenever no valid one is
 * left, because otherwise nobody could create tokens any more.
 */
async function adminToken(catalog: Catalog, file: string, now: number, log: Log, wanted: boolean): Promise<void> {
  const tokens = await catalog.tokens.list();
  const valid = tokens.some((token) => isValidAdmin(token, now));
  if (valid && !wanted) return;
  const { token, record } = newToken(
    { name: 'admin', kind: 'api', scope: 'admin', environment: null, host: null, expiresAt: null, usesLeft: null },
    now,
  );
  const entry = { at: now, actor: 'control', action: 'token.create', subject: 'admin', detail: `${record.id} admin` };
  // The file first: a crash between the two leaves a file with a token that is not valid, and the next start writes another.
  await writeFileDurably(file, `${token}\n`);
  await catalog.commit([
    { type: 'token.create', token: record },
    { type: 'audit', entry },
  ]);
  if (tokens.length > 0 && !valid) log.warn({ file }, 'no valid admin token was left: a new one is in the file');
}

const NO_NOTIFICATIONS = notifyConfigSchema.parse({});

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host);

/** Listens; returns the port. */
async function listen(server: HttpServer, host: string, port: number): Promise<number> {
  return await server.listen(host, port).catch((error: unknown) => {
    throw new Failure('ALREADY_RUNNING', `cannot listen on ${host}:${port}`, {
      cause: error,
      remedy: 'Stop the process that listens there, or choose another --port.',
    });
  });
}

const urlOf = (host: string, port: number): string => `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** Opens the catalog of a data folder, after a copy was put in its place when one is given. */
async function openCatalog({ dataDir, restoreCopy, clock }: ControlOptions): Promise<Catalog> {
  const file = join(dataDir, 'catalog.sqlite');
  if (restoreCopy !== undefined) await putBackCopy(restoreCopy, file, clock.now());
  return await openSqliteCatalog(file);
}

/** Starts the control plane. Throws ALREADY_RUNNING, DATA_FOLDER_UNSAFE, IO_ERROR; nothing is left open then. */
export async function startControl(options: ControlOptions): Promise<Control> {
  const { dataDir, host = '127.0.0.1', port = 0, clock, log, notify = NO_NOTIFICATIONS } = options;
  const copiesDir = options.copiesDir ?? join(dataDir, 'copies');
  const limits = { ...CONTROL_LIMITS, ...options.limits };
  await using cleanup = new AsyncDisposableStack();
  await makePrivateFolder(dataDir);
  cleanup.use(await lockFolder(dataDir));
  const catalog = await openCatalog(options);
  cleanup.defer(() => catalog.close());
  const adminTokenFile = join(dataDir, 'admin.token');
  await adminToken(catalog, adminTokenFile, clock.now(), log, options.newAdminToken === true);
  const isRestored = options.restored === true || options.restoreCopy !== undefined;
  const restored = isRestored ? { incarnation: randomUUID() } : undefined;
  const ledgers = await LedgerStore.open(catalog, clock, restored);
  const registry = await AgentRegistry.open(catalog, ledgers, clock, log);
  const everyMs = limits.maintenanceMs;
  cleanup.use(new Maintenance({ catalog, ledgers, clock, log, everyMs, checkSessions: () => registry.closeSilent() }));
  const parts = { catalog, ledgers, registry, clock, log, limits };
  const { planner, runbooks } = cleanup.use(
    await openAutomation({ ...parts, notify, dataDir, copiesDir, isRestored: restored !== undefined }),
  );
  const jobCounter = cleanup.use(new JobCounter(ledgers));
  const channels = new Set(Object.keys(notify.channels));
  const dashboard = options.dashboardDir === undefined ? null : await DashboardFiles.open(options.dashboardDir);
  const signInCodes = new SignInCodes(clock);
  const server = new HttpServer({ ...parts, planner, runbooks, jobCounter, channels, signInCodes, dashboard });
  const bound = await listen(server, host, port);
  const open = cleanup.move();
  const url = urlOf(host, bound);
  log.info({ url, dataDir }, 'the control plane is up');
  if (!isLoopback(host))
    log.warn({ host }, 'listens on the network without TLS: tokens can be read on the way unless a proxy adds it');
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    registry.close();
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
