import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ArtifactSource,
  type BackupFacts,
  type Engine,
  type EngineContext,
  Failure,
  noSteps,
  type RecoverySource,
  type Repository,
  type RestoredRoles,
  type RestoreResult,
  type RestoreTestLimits,
  type VerifyOutcome,
} from '@lastgood/core';
import { systemClock, uuidv7 } from '@lastgood/host';
import type { Manifest, RestorePlanSummary, RestoreRequest } from '@lastgood/protocol';
import { createFolderRepository } from '@lastgood/repository';
import {
  aRestoreRequest,
  type DatabaseRestore,
  type PostgresServer,
  temporaryFolder,
  testLimits,
} from '@lastgood/testkit';
import { createPostgresEngine, postgresMethods } from '../../src/postgres/index.ts';

/** A target with one backup. */
const only = (source: ArtifactSource): RecoverySource => ({
  list: async () => ({ backups: [], broken: [] }),
  open: async () => source,
  log: () => {
    throw new Error('this target has no log stream');
  },
});

export const ref = { environment: 'test', host: 'db-1', target: 'shop' };

/** One engine over one repository, as the agent would drive them, without the agent. */
export class EngineHarness implements AsyncDisposable {
  readonly folder: string;
  readonly repository: Repository;
  readonly engine: Engine;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(folder: string, repository: Repository, engine: Engine, cleanup: AsyncDisposableStack) {
    this.folder = folder;
    this.repository = repository;
    this.engine = engine;
    this.#cleanup = cleanup;
  }
  /** The repository is in a folder of its own unless `store` names one. Restored roles are compared with their source, so they are full. */
  static async open(
    server: Pick<PostgresServer, 'connection'>,
    connection: object = {},
    store?: string,
    restoredRoles: RestoredRoles = 'full',
    restoreTests: RestoreTestLimits = testLimits,
  ): Promise<EngineHarness> {
    const cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    const repository = await createFolderRepository({
      understood: postgresMethods,
      path: store ?? join(path, 'repository'),
    });
    return new EngineHarness(
      path,
      repository,
      createPostgresEngine(
        { ...server.connection, ...connection },
        { restoreFolders: {}, restoredRoles, restoreTests },
      ),
      cleanup,
    );
  }
  async context(
    signal: AbortSignal = new AbortController().signal,
    progress: EngineContext['progress'] = () => undefined,
  ): Promise<EngineContext> {
    const workDir = join(this.folder, uuidv7());
    await mkdir(workDir, { mode: 0o700 });
    return { workDir, signal, clock: systemClock, steps: noSteps, progress, log: () => undefined };
  }
  async backup(
    options: {
      databases?: string[] | null;
      digests?: boolean;
      signal?: AbortSignal;
      systemId?: string;
      progress?: EngineContext['progress'];
    } = {},
  ): Promise<Manifest> {
    const context = await this.context(options.signal, options.progress);
    const backupId = uuidv7();
    const writer = await this.repository.begin(
      {
        ref,
        backupId,
        jobId: uuidv7(),
        attempt: 1,
        engine: 'postgres',
        startedAt: new Date().toISOString(),
        lastgoodVersion: '0.1.0',
      },
      options.systemId ?? 'system',
    );
    let facts: BackupFacts;
    try {
      const contents = options.databases === undefined ? ['shop'] : options.databases;
      const request = { method: 'logical', contents, options: { digests: options.digests ?? true } };
      facts = await this.engine.backup(request, writer, context);
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    return (await writer.publish(facts, new Date().toISOString())).manifest;
  }
  /** Plans a restore of one database of `source`. */
  async plan(
    restore: DatabaseRestore,
    source: ArtifactSource,
    context: EngineContext,
    options: RestoreRequest['options'] = {},
  ): Promise<RestorePlanSummary> {
    const request = aRestoreRequest(source.manifest.backupId, restore, options);
    return await this.engine.plan(request, only(source), context);
  }
  /** Carries out a plan. */
  async carryOut(
    order: {
      readonly restore: DatabaseRestore;
      readonly jobId: string;
      readonly planHash: string;
      readonly options?: RestoreRequest['options'];
    },
    source: ArtifactSource,
    context: EngineContext,
  ): Promise<RestoreResult> {
    const { restore, jobId, planHash, options } = order;
    const request = aRestoreRequest(source.manifest.backupId, restore, options);
    return await this.engine.restore({ request, jobId, planHash }, only(source), context);
  }
  async restore(
    backupId: string,
    restore: DatabaseRestore,
    jobId = uuidv7(),
  ): Promise<{ jobId: string; setAsideAs: string | null; tables: number }> {
    const source = await this.repository.open(ref, backupId);
    const { hash } = await this.plan(restore, source, await this.context());
    const { setAsideAs, counts } = await this.carryOut(
      { restore, jobId, planHash: hash },
      source,
      await this.context(),
    );
    return { jobId, setAsideAs, tables: Number(counts.find(({ label }) => label === 'tables')?.value) };
  }
  /** The ids of the backups that are listed; fails when a folder of a backup that was given up is left. */
  async listed(): Promise<string[]> {
    const { backups, broken } = await this.repository.list(ref);
    const swept = await this.repository.sweep(ref, new Set());
    if (broken.length + swept.length > 0) throw new Error(`left behind: ${JSON.stringify([broken, swept])}`);
    return backups.map(({ manifest }) => manifest.backupId);
  }
  /** Verifies a stored backup with the engine. */
  async verify(level: 2 | 3 | 4 | 5 | 6, backupId: string, context?: EngineContext): Promise<VerifyOutcome> {
    return await this.engine.verify(
      level,
      await this.repository.open(ref, backupId),
      context ?? (await this.context()),
    );
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

const OFFERED = {
  hstore: "select from pg_available_extensions where name = 'hstore'",
  citext: "select from pg_available_extensions where name = 'citext'",
  icu: "select from pg_collation where collname = 'en-x-icu'",
  ssl: "select from pg_config where name = 'CONFIGURE' and setting ~ '--with-(open)?ssl'",
  'views that keep to a search_path': "select where current_setting('server_version_num')::int < 170000",
};
/** What a server that is tested cannot do, for `skip`: builds leave things out, and versions give things up. */
export async function lacking(
  server: Pick<PostgresServer, 'query'>,
  need: keyof typeof OFFERED,
): Promise<[boolean, string]> {
  return [(await server.query('postgres', OFFERED[need])).length === 0, `this PostgreSQL has no ${need}`];
}

/** The code with which something was refused; a text that fits no code when it was not. */
export const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'nothing was refused',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );
