import { Failure } from '@lastgood/core';
import { readPassword } from '@lastgood/host';
import type { Config, Driver, Session } from 'neo4j-driver-lite';
import { pingBolt } from './bolt-handshake.ts';
import type { Neo4jConnection } from './connection-schema.ts';

const CONNECT_MS = 15_000;
const PING_MS = 5_000;
const FETCH_SIZE = 2_000;
const BOOKMARK_PREFIX = 'FB:';

/** Where and as whom to log in. */
export interface BoltTarget {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly ca?: string | undefined; readonly verify: boolean } | undefined;
  /** Null when the server requires no login. */
  readonly login: { readonly user: string; readonly password: string } | null;
}

/** The Bolt target of a connection; reads the password. */
export async function boltTargetOf({ host, port, tls, user, passwordFile }: Neo4jConnection): Promise<BoltTarget> {
  const login = passwordFile === undefined ? null : { user, password: await readPassword(passwordFile) };
  return { host, port, tls, login };
}

export type Row = Readonly<Record<string, unknown>>;
/** Values as the driver decodes them: integers are bigint. */
export type Parameters = Readonly<Record<string, unknown>>;

const LOGIN_REMEDY = 'Correct user and passwordFile of the target in the agent file.';
const ADDRESS_REMEDY = {
  bolt: 'The server closed the connection. Read its log, then try again.',
  refused: 'Check that Neo4j is running, and host and port of the target in the agent file.',
  unreachable: 'Check host and port of the target in the agent file, and the firewall.',
  'not-bolt': 'Check that the port is the one of Bolt, and that `tls` of the target fits the settings of the server.',
} as const;

/** The status code of an error of the server or of the driver; undefined for anything else. */
const statusOf = (error: unknown): string | undefined =>
  error instanceof Error && error.name === 'Neo4jError' && 'code' in error ? String(error.code) : undefined;

/** An error of the server by its status code alone: its text may hold data. */
export function boltFailure(error: unknown, what: string): Failure {
  if (error instanceof Failure) return error;
  const status = statusOf(error);
  if (status === undefined) throw error;
  const message = `${what}: ${status}`;
  if (status.startsWith('Neo.ClientError.Security.'))
    return new Failure('DATABASE_REFUSED', message, { cause: error, remedy: LOGIN_REMEDY });
  if (status === 'Neo.ClientError.Database.DatabaseNotFound')
    return new Failure('NOT_FOUND', message, {
      cause: error,
      remedy: 'Check the names of the databases of the target in the agent file.',
    });
  const isGone = status === 'ServiceUnavailable' || status === 'SessionExpired';
  if (isGone || /^Neo\.TransientError\.(General\.DatabaseUnavailable|Database\.)/.test(status))
    return new Failure('DATABASE_UNREACHABLE', message, { cause: error });
  return new Failure('TOOL_FAILED', message, {
    cause: error,
    remedy: 'Look up the status code in the manual of Neo4j, and read the log of the server.',
  });
}

/**
 * One login at a server, for reading: the server rejects every write. Every call ends when the signal aborts, with its reason.
 * Errors: DATABASE_UNREACHABLE, DATABASE_REFUSED, NOT_FOUND, TOOL_FAILED; never with the text of the server.
 */
export class BoltSession implements AsyncDisposable {
  readonly #driver: Driver;
  readonly #signal: AbortSignal;
  readonly version: string;

  private constructor(driver: Driver, signal: AbortSignal, version: string) {
    this.#driver = driver;
    this.#signal = signal;
    this.version = version;
  }

  /** Connects and logs in. */
  static async open(target: BoltTarget, signal: AbortSignal): Promise<BoltSession> {
    const { default: neo4j } = await import('neo4j-driver-lite');
    const { host, port, login } = target;
    const address = host.includes(':') ? `[${host}]` : host;
    const token = {
      scheme: login === null ? 'none' : 'basic',
      principal: login?.user ?? '',
      credentials: login?.password ?? '',
    };
    const driver = neo4j.driver(`bolt://${address}:${port}`, token, {
      ...encryptionOf(target),
      useBigInt: true,
      fetchSize: FETCH_SIZE,
      maxTransactionRetryTime: 0,
      maxConnectionPoolSize: 2,
      connectionTimeout: CONNECT_MS,
      connectionAcquisitionTimeout: CONNECT_MS * 2,
      telemetryDisabled: true,
      userAgent: 'lastgood',
    });
    try {
      const { agent = '' } = await raceWithAbort(driver.getServerInfo({ database: 'system' }), signal);
      return new BoltSession(driver, signal, agent.replace(/^Neo4j\//, ''));
    } catch (error) {
      await driver.close().catch(() => undefined);
      signal.throwIfAborted();
      throw await connectFailure(error, target, signal);
    }
  }

  /** All rows of a statement. `timeoutMs` is enforced by the server. */
  async rows(database: string, cypher: string, parameters: Parameters, timeoutMs: number): Promise<Row[]> {
    return await this.#read(database, async (session) => {
      const { records } = await session.run(cypher, { ...parameters }, { timeout: timeoutMs });
      return records.map((record) => record.toObject());
    });
  }

  /** Hands the rows of a statement on as they arrive, in bounded memory. */
  async stream(database: string, cypher: string, onRow: (row: Row) => void): Promise<void> {
    await this.#read(
      database,
      (session) =>
        new Promise<void>((resolve, reject) => {
          session.run(cypher).subscribe({
            onNext: (record) => {
              if (!this.#signal.aborted) onRow(record.toObject());
            },
            onCompleted: () => resolve(),
            onError: reject,
          });
        }),
    );
  }

  /**
   * The last transaction of a database that was committed before this call; null when the server reports it in an unknown way. It is part
   * of the bookmark with which a read ends: Community does not report it otherwise.
   */
  async lastTransaction(database: string, timeoutMs: number): Promise<number | null> {
    const statement = database === 'system' ? 'SHOW DATABASES YIELD name' : 'RETURN 1';
    return await this.#read(database, async (session) => {
      await session.run(statement, {}, { timeout: timeoutMs });
      return transactionOf(session.lastBookmarks());
    });
  }

  async #read<T>(database: string, work: (session: Session) => Promise<T>): Promise<T> {
    this.#signal.throwIfAborted();
    const session = this.#driver.session({ database, defaultAccessMode: 'READ' });
    try {
      return await raceWithAbort(work(session), this.#signal);
    } catch (error) {
      this.#signal.throwIfAborted();
      throw boltFailure(error, `cannot read database "${database}"`);
    } finally {
      // A query that was abandoned does not let the session close.
      if (!this.#signal.aborted) await session.close().catch(() => undefined);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#driver.close().catch(() => undefined);
  }
}

function encryptionOf({ tls }: BoltTarget): Config {
  if (tls === undefined) return { encrypted: 'ENCRYPTION_OFF' };
  if (!tls.verify) return { encrypted: 'ENCRYPTION_ON', trust: 'TRUST_ALL_CERTIFICATES' };
  if (tls.ca === undefined) return { encrypted: 'ENCRYPTION_ON', trust: 'TRUST_SYSTEM_CA_SIGNED_CERTIFICATES' };
  return { encrypted: 'ENCRYPTION_ON', trust: 'TRUST_CUSTOM_CA_SIGNED_CERTIFICATES', trustedCertificates: [tls.ca] };
}

async function connectFailure(error: unknown, { host, port }: BoltTarget, signal: AbortSignal): Promise<Failure> {
  const failure = boltFailure(error, `cannot log in to ${host}:${port}`);
  if (failure.code !== 'DATABASE_UNREACHABLE') return failure;
  const answer = await pingBolt(host, port, PING_MS, signal);
  return new Failure('DATABASE_UNREACHABLE', `cannot connect to ${host}:${port}: ${answer}`, {
    cause: error,
    remedy: ADDRESS_REMEDY[answer],
  });
}

/** The driver has no signal: a call that is abandoned settles unseen. */
async function raceWithAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort);
  work.catch(() => undefined);
  try {
    signal.throwIfAborted();
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** A bookmark is base64 of a list: the id of the database (16 bytes), the transaction, an empty list; in the encoding of Bolt. */
export function transactionOf([bookmark]: readonly string[]): number | null {
  if (bookmark?.startsWith(BOOKMARK_PREFIX) !== true) return null;
  const bytes = Buffer.from(bookmark.slice(BOOKMARK_PREFIX.length), 'base64');
  if (bytes.length < 21 || bytes.readUInt8(1) !== 0xcc || bytes.readUInt8(2) !== 16) return null;
  const marker = bytes.readUInt8(19);
  if (marker < 0x80) return marker;
  const width = { 200: 1, 201: 2, 202: 4, 203: 8 }[marker];
  if (width === undefined || bytes.length < 20 + width) return null;
  return width === 8 ? Number(bytes.readBigInt64BE(20)) : bytes.readIntBE(20, width);
}
