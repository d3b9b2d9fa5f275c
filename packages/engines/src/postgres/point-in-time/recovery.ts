import { chown, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Clock, Failure } from '@lastgood/core';
import { runTool, storeFailure, type ToolCall } from '@lastgood/host';
import type { PostgresConnection } from '../connection-schema.ts';
import { describeServerMessage, UNKNOWN_MESSAGE } from '../messages/server-message.ts';
import type { RecoverySettings } from '../physical/recovery-settings.ts';
import { Session } from '../session.ts';
import { formatInstant, type Micros } from '../wal/instant.ts';
import { formatLsn, type Lsn, parseLsn } from '../wal/lsn.ts';
import { LOG_NAME, recoverySettings } from './recovery-config.ts';
import { fatalEntry, logFormat, readServerLog } from './server-log.ts';
import type { RecoveryPlan } from './target.ts';
import type { UnixUser } from './unpack.ts';
import type { WalPrefetch } from './wal-prefetch.ts';

const POLL_MS = 100;
const WEEK_MS = 7 * 86_400_000;

export interface RecoveryOptions {
  readonly plan: RecoveryPlan;
  /** The unpacked backup. */
  readonly dataFolder: string;
  /** Private; for configuration and log. */
  readonly configFolder: string;
  /** Private and short: the path of a socket holds 107 bytes. */
  readonly socketFolder: string;
  /** The folder of the server programs, of the major version of the backup. */
  readonly binDir: string;
  readonly majorVersion: number;
  /** Who runs the server; null for ourselves. PostgreSQL refuses root. */
  readonly user: UnixUser | null;
  /** Contains the server of a restore test; null for a server that is restored. */
  readonly contain: ((call: ToolCall) => ToolCall) | null;
  readonly settings: RecoverySettings;
  readonly preloadLibraries: string;
  /** False for a copy that is thrown away: then nothing is synced. */
  readonly isDurable: boolean;
  readonly prefetch: WalPrefetch;
  /** How the source is reached; host, port and user are replaced. */
  readonly connection: PostgresConnection;
  /** The first superuser of the cluster. The role of the agent may be younger than the target. */
  readonly superuser: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The recovery fails when replay makes no progress for this long. */
  readonly stallMs: number;
  onProgress(progress: RecoveryProgress): void;
}
export interface RecoveryProgress {
  readonly replayedLsn: Lsn;
  /** The time of the last transaction that was replayed; null before the first. */
  readonly replayedAt: Micros | null;
}
export interface RecoveryPoint {
  readonly lsn: Lsn;
  /** The time of the last transaction that is in the copy; null when none was replayed after the start of the backup. */
  readonly lastXactAt: Micros | null;
}
interface ReplayState extends RecoveryProgress {
  readonly isInRecovery: boolean;
  readonly isPaused: boolean;
}

const STATE = `select pg_is_in_recovery() as recovering, pg_is_in_recovery() and pg_is_wal_replay_paused() as paused,
  coalesce(pg_last_wal_replay_lsn(), '0/0')::text as lsn, (extract(epoch from pg_last_xact_replay_timestamp()) * 1000000)::bigint::text as at`;

/** A restored server at its target. Disposing stops it and leaves its files. */
export class RecoveredServer implements AsyncDisposable {
  /** Leads to the private socket, as the first superuser of the cluster. */
  readonly connection: PostgresConnection;
  readonly point: RecoveryPoint;
  readonly #process: ServerProcess;
  readonly #signal: AbortSignal;
  /** Ends the prefetch, which serves the server until then. */
  readonly #endPrefetch: () => Promise<unknown>;

  constructor(
    connection: PostgresConnection,
    point: RecoveryPoint,
    process: ServerProcess,
    signal: AbortSignal,
    endPrefetch: () => Promise<unknown>,
  ) {
    this.connection = connection;
    this.point = point;
    this.#process = process;
    this.#signal = signal;
    this.#endPrefetch = endPrefetch;
  }

  /** Ends the recovery: the copy becomes a server of its own, on a new timeline. Until then it is read-only. */
  async promote(): Promise<void> {
    const signal = this.#signal;
    await using session = await Session.open(this.connection, this.connection.database, signal);
    // A server that could not pause has promoted itself.
    if ((await readState(session)).isInRecovery) await session.rows('select pg_wal_replay_resume()');
    for (;;) {
      await this.#process.throwIfEnded();
      if (!(await readState(session)).isInRecovery) break;
      await delay(POLL_MS, undefined, { signal });
    }
  }

  /** Stops the server in order, so that its files are complete. */
  async stop(): Promise<void> {
    await this.#process.stop('SIGINT');
    await this.#endPrefetch();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop('SIGQUIT');
    await this.#endPrefetch();
  }
}

/**
 * Starts the unpacked copy, replays to the stop of the plan and pauses there. It has succeeded when the server itself reports by SQL
 * that it stands between the bounds of the plan; exit statuses and sentences of its log decide nothing.
 * Errors: RESTORE_FAILED (the message has the SQLSTATE of the server), BACKUP_CORRUPT, NO_SPACE, JOB_CANCELED and what the source throws.
 */
export async function recoverServer(options: RecoveryOptions): Promise<RecoveredServer> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  await prepare(options);
  const fetching = options.prefetch.run(signal).then(
    () => undefined,
    (error: unknown) => error,
  );
  const endPrefetch = async (): Promise<unknown> => {
    stop.abort();
    return await fetching;
  };
  const server = new ServerProcess(options);
  try {
    const state = await waitForTarget(options, server);
    checkPoint(options.plan, state);
    const point = { lsn: state.replayedLsn, lastXactAt: state.replayedAt };
    return new RecoveredServer(privateConnection(options), point, server, options.signal, endPrefetch);
  } catch (error) {
    await server.stop('SIGQUIT');
    const cause = await endPrefetch();
    options.signal.throwIfAborted();
    // Missing or damaged WAL ends the server as well: it is the cause.
    throw cause instanceof Failure ? cause : error;
  }
}

async function prepare({ configFolder, dataFolder, prefetch, user }: RecoveryOptions): Promise<void> {
  try {
    await mkdir(join(configFolder, 'log'), { recursive: true, mode: 0o700 });
    await writeFile(join(configFolder, 'postgresql.conf'), '');
    // The socket is in a folder that only this user and root can enter.
    await writeFile(join(configFolder, 'pg_hba.conf'), 'local all all trust\n');
    await writeFile(join(configFolder, 'pg_ident.conf'), '');
    await writeFile(join(dataFolder, 'recovery.signal'), '', { flag: 'wx', mode: 0o600 });
    if (user !== null) {
      const names = ['', 'log', 'postgresql.conf', 'pg_hba.conf', 'pg_ident.conf'].map((name) =>
        join(configFolder, name),
      );
      for (const path of [...names, join(dataFolder, 'recovery.signal')]) await chown(path, user.uid, user.gid);
    }
  } catch (error) {
    throw storeFailure(error, dataFolder);
  }
  await prefetch.prepare();
}

/** The process of the server. It dies with us. */
class ServerProcess {
  readonly #options: RecoveryOptions;
  readonly #running: Promise<unknown>;
  readonly #kill = new AbortController();
  #ended: { readonly error: unknown } | undefined;

  constructor(options: RecoveryOptions) {
    this.#options = options;
    const { binDir, dataFolder, user, prefetch, contain } = options;
    const config = recoverySettings({ ...options, scriptPath: prefetch.scriptPath });
    const call: ToolCall = {
      file: join(binDir, 'postgres'),
      args: ['-D', dataFolder, ...config.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      // The end of the job is announced by `stop`, which also stops in order.
      signal: this.#kill.signal,
      timeoutMs: WEEK_MS,
      cwd: dataFolder,
      redactStderr: () => null,
      // Tools take the locale C, and the cluster brings its own.
      ...(user === null ? {} : { user }),
    };
    this.#running = runTool(contain === null ? call : contain(call)).then(
      () => {
        this.#ended = { error: undefined };
      },
      (error: unknown) => {
        this.#ended = { error };
      },
    );
  }

  get hasEnded(): boolean {
    return this.#ended !== undefined;
  }

  /** Throws why the server ended, as its own log has it. */
  async throwIfEnded(): Promise<void> {
    if (this.#ended === undefined) return;
    const { configFolder, majorVersion } = this.#options;
    const format = logFormat(majorVersion);
    const suffix = format === 'jsonlog' ? 'json' : 'csv';
    const fatal = fatalEntry(await readServerLog(join(configFolder, 'log', `${LOG_NAME}.${suffix}`), format));
    // Its text stays here: the log of a server may quote rows.
    const reason = describeServerMessage({ ...UNKNOWN_MESSAGE, sqlstate: fatal?.sqlState ?? null });
    throw new Failure('RESTORE_FAILED', `the restored server ended before it reached the target: ${reason}`, {
      cause: this.#ended.error,
    });
  }

  /** Stops the server and waits for its end, however long its last checkpoint takes. */
  async stop(how: 'SIGINT' | 'SIGQUIT'): Promise<void> {
    // What a restore test leaves is thrown away.
    if (this.#options.contain !== null) this.#kill.abort();
    for (let isSent = false; !this.hasEnded; ) {
      if (!isSent && this.#options.contain === null) isSent = await this.#send(how);
      await Promise.race([this.#running, delay(POLL_MS)]);
    }
    await this.#running;
  }

  /** False while the server has not written its process id yet. */
  async #send(how: 'SIGINT' | 'SIGQUIT'): Promise<boolean> {
    const { dataFolder, user } = this.#options;
    const text = await readFile(join(dataFolder, 'postmaster.pid'), 'utf8').catch(() => '');
    const pid = Number(text.split('\n')[0]);
    // Restored code can write this file: it must not choose whom we signal.
    if (!Number.isInteger(pid) || pid <= 1 || !(await belongsTo(pid, user?.uid ?? process.getuid?.()))) return false;
    try {
      process.kill(pid, how);
    } catch {
      // It has just ended.
    }
    return true;
  }
}
/** True when the process runs as this user, or when that cannot be found out. */
async function belongsTo(pid: number, uid: number | undefined): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  const owner = await stat(`/proc/${pid}`).catch(() => undefined);
  return owner?.uid === uid;
}

async function waitForTarget(options: RecoveryOptions, server: ServerProcess): Promise<ReplayState> {
  const { clock, signal, plan } = options;
  let last: ReplayState | undefined;
  let movedAt = clock.monotonic();
  for (;;) {
    await delay(POLL_MS, undefined, { signal });
    await server.throwIfEnded();
    const state = await readStateOf(options);
    if (state !== undefined) {
      if (state.replayedLsn !== last?.replayedLsn) movedAt = clock.monotonic();
      last = state;
      options.onProgress(state);
      if (!state.isInRecovery || state.isPaused) return state;
    }
    if (clock.monotonic() - movedAt > options.stallMs) {
      const place = last === undefined ? 'its start' : formatLsn(last.replayedLsn);
      throw new Failure('RESTORE_FAILED', `the replay stalled at ${place} on the way to ${formatLsn(plan.fromLsn)}`);
    }
  }
}

const privateConnection = ({ connection, socketFolder, superuser }: RecoveryOptions): PostgresConnection => ({
  ...connection,
  host: socketFolder,
  port: 5432,
  user: superuser,
  sslmode: 'disable',
});

/** The state of the replay; undefined while the server takes no connections. */
async function readStateOf(options: RecoveryOptions): Promise<ReplayState | undefined> {
  const own = privateConnection(options);
  try {
    await using session = await Session.open(own, own.database, options.signal);
    return await readState(session);
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof Failure && error.code === 'DATABASE_UNREACHABLE') return undefined;
    throw error;
  }
}

async function readState(session: Session): Promise<ReplayState> {
  const row = await session.one<{ recovering: boolean; paused: boolean; lsn: string; at: string | null }>(STATE);
  return {
    isInRecovery: row.recovering,
    isPaused: row.paused,
    replayedLsn: parseLsn(row.lsn),
    replayedAt: row.at === null ? null : BigInt(row.at),
  };
}

/** Compares where the server stopped with the plan. A pause has other reasons too, such as settings that are too low. */
function checkPoint({ fromLsn, endLsn, stop }: RecoveryPlan, { replayedLsn, replayedAt }: ReplayState): void {
  const isAround = replayedLsn >= fromLsn && replayedLsn <= endLsn;
  if (!isAround)
    throw new Failure(
      'RESTORE_FAILED',
      `the restored server stopped at ${formatLsn(replayedLsn)}, which is not between ${formatLsn(fromLsn)} and ${formatLsn(endLsn)} as planned`,
    );
  if (stop.kind === 'time' && replayedAt !== null && replayedAt > stop.at)
    throw new Failure(
      'RESTORE_FAILED',
      `the restored server holds a transaction of ${formatInstant(replayedAt)}, later than ${formatInstant(stop.at)}`,
    );
}
