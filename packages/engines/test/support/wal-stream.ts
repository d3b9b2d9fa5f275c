import { chmod, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '@lastgood/host';
import { type PostgresServer, startPrimary, temporaryFolder } from '@lastgood/testkit';
import { expect, vi } from 'vitest';
import { type PostgresConnection, postgresConnectionSchema } from '../../src/postgres/connection-schema.ts';
import { sqlStateOf } from '../../src/postgres/replication/replication-session.ts';
import { findGaps } from '../../src/postgres/wal/continuity.ts';
import { type Lsn, parseLsn } from '../../src/postgres/wal/lsn.ts';
import { createReceiverSlot, dropReceiverSlot, receiveWal } from '../../src/postgres/wal/receiver.ts';
import type { ReceiverOptions, ReceiverOutcome, ReceiverState } from '../../src/postgres/wal/receiver-options.ts';
import { FolderSink, storedIn } from './folder-sink.ts';

export const MIB = 2 ** 20;
const never = new AbortController().signal;
type Queries = Pick<PostgresServer, 'query'>;

/** A server with segments of 1 MiB that also archives by itself, for comparison. */
export class WalPrimary implements AsyncDisposable {
  readonly server: PostgresServer;
  readonly connection: PostgresConnection;
  readonly systemId: string;
  /** Where PostgreSQL itself archives. */
  readonly truth: string;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(server: PostgresServer, systemId: string, truth: string, cleanup: AsyncDisposableStack) {
    this.server = server;
    this.connection = postgresConnectionSchema.parse(server.connection);
    this.systemId = systemId;
    this.truth = truth;
    this.#cleanup = cleanup;
  }
  static async start(): Promise<WalPrimary> {
    const cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    await chmod(path, 0o777);
    const conf = ['archive_mode = on', `archive_command = 'cp %p ${path}/%f'`, 'synchronous_commit = on'];
    const small = ['wal_keep_size = 0', 'min_wal_size = 2MB', 'max_wal_size = 8MB'];
    const server = cleanup.use(
      await startPrimary({ initdbArgs: ['--wal-segsize=1'], extraConf: [...conf, ...small].join('\n') }),
    );
    await server.query('postgres', 'create table t (i bigint, x text)');
    return new WalPrimary(server, await systemIdOf(server), path, cleanup);
  }
  async slotLsn(slot: string): Promise<Lsn> {
    const sql = 'select restart_lsn::text as lsn from pg_replication_slots where slot_name = $1';
    return parseLsn(String((await this.server.query('postgres', sql, [slot]))[0]?.['lsn']));
  }
  async flushedLsn(): Promise<Lsn> {
    const [row] = await this.server.query('postgres', 'select pg_current_wal_flush_lsn()::text as lsn');
    return parseLsn(String(row?.['lsn']));
  }
  async isActive(slot: string): Promise<boolean> {
    const sql = 'select from pg_replication_slots where slot_name = $1 and active';
    return (await this.server.query('postgres', sql, [slot])).length > 0;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

export async function systemIdOf(server: Queries): Promise<string> {
  const [row] = await server.query('postgres', 'select system_identifier::text as id from pg_control_system()');
  return String(row?.['id']);
}
/** Writes about this much WAL. */
export async function writeWal(server: Queries, mib: number): Promise<void> {
  for (let each = 0; each < mib; each += 1)
    await server.query('postgres', "insert into t select i, repeat('x', 900) from generate_series(1, 1000) as i");
}
export async function switchWal(server: Queries): Promise<void> {
  await server.query('postgres', 'select pg_switch_wal()');
}

/** One stream: its slot, its folders, and runs of its receiver. */
export class WalStream implements AsyncDisposable {
  readonly slot: string;
  readonly sink: FolderSink;
  readonly spoolFolder: string;
  state: ReceiverState | undefined;
  readonly #cleanup: AsyncDisposableStack;
  readonly #ownsSlot: boolean;
  readonly #primary: WalPrimary;
  readonly #connection: PostgresConnection;
  #stop = new AbortController();
  #running: Promise<ReceiverOutcome> | undefined;

  private constructor(
    primary: WalPrimary,
    slot: string,
    path: string,
    folders: AsyncDisposableStack,
    through: PostgresConnection,
    ownsSlot: boolean,
  ) {
    this.#primary = primary;
    this.#ownsSlot = ownsSlot;
    this.slot = slot;
    this.spoolFolder = join(path, 'spool');
    this.sink = new FolderSink(join(path, 'sink'));
    this.#cleanup = folders;
    this.#connection = through;
  }
  static async open(
    primary: WalPrimary,
    slot: string,
    options: { withoutSlot?: boolean; through?: PostgresConnection } = {},
  ): Promise<WalStream> {
    const folders = new AsyncDisposableStack();
    const { path } = folders.use(await temporaryFolder());
    for (const name of ['spool', 'sink']) await mkdir(join(path, name));
    const through = options.through ?? primary.connection;
    if (options.withoutSlot !== true) await createReceiverSlot(through, slot, never);
    return new WalStream(primary, slot, path, folders, through, options.withoutSlot !== true);
  }
  async run(options: Partial<ReceiverOptions> = {}): Promise<ReceiverOutcome> {
    this.#stop = new AbortController();
    this.#running = receiveWal(
      {
        connection: this.#connection,
        slot: this.slot,
        spoolFolder: this.spoolFolder,
        spoolSegments: 100,
        sink: this.sink,
        stored: await storedIn(this.sink.folder, MIB, this.#primary.systemId),
        acknowledge: 'repository',
        afterGap: false,
        clock: systemClock,
        onState: (state) => {
          this.state = state;
        },
        ...options,
      },
      this.#stop.signal,
    );
    return await this.#running;
  }
  start(options: Partial<ReceiverOptions> = {}): Promise<ReceiverOutcome> {
    const running = this.run(options);
    running.catch(() => undefined);
    return running;
  }
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running?.catch(() => undefined);
  }
  /** Waits until everything that the server has flushed in complete segments is stored. */
  async caughtUp(): Promise<void> {
    const end = await this.#primary.flushedLsn();
    await vi.waitFor(() => expect(this.state?.storedLsn ?? 0n).toBeGreaterThanOrEqual(end - (end % BigInt(MIB))), {
      timeout: 30_000,
      interval: 50,
    });
  }
  /** Compares every stored segment with what the server archived by itself. */
  async expectTruth(): Promise<void> {
    const names = (await this.sink.names()).filter((name) => name.length === 24);
    for (const name of names) {
      await vi.waitFor(async () => expect(await readdir(this.#primary.truth)).toContain(name), 20_000);
      const [stored, archived] = await Promise.all([
        readFile(join(this.sink.folder, name)),
        readFile(join(this.#primary.truth, name)),
      ]);
      expect([name, stored.equals(archived)]).toEqual([name, true]);
    }
    const { holdings } = await storedIn(this.sink.folder, MIB, this.#primary.systemId);
    expect(findGaps(holdings)).toEqual([]);
    expect(names.length).toBeGreaterThan(0);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    const isInUse = async (): Promise<boolean> =>
      await dropReceiverSlot(this.#connection, this.slot, never).then(
        () => false,
        (error: unknown) => sqlStateOf(error) === '55006',
      );
    if (this.#ownsSlot)
      await vi.waitFor(async () => expect(await isInUse()).toBe(false), { timeout: 10_000, interval: 100 });
    await this.#cleanup.disposeAsync();
  }
}
