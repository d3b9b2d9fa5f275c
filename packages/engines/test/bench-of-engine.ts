import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type BackupFacts, type Engine, type EngineContext, Failure, type Repository } from '@lastgood/core';
import { systemClock, uuidv7 } from '@lastgood/host';
import type { Manifest, RestoreMode } from '@lastgood/protocol';
import { createFolderRepository } from '@lastgood/repository';
import { type PostgresServer, temporaryFolder } from '@lastgood/testkit';
import { createPostgresEngine } from '../src/postgres/index.ts';

export const ref = { environment: 'test', host: 'db-1', target: 'shop' };

/** One engine over one repository, as the agent would drive them, without the agent. */
export class EngineBench implements AsyncDisposable {
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
  static async open(server: PostgresServer, connection: object = {}): Promise<EngineBench> {
    const cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    const repository = await createFolderRepository({ path: join(path, 'repository') });
    return new EngineBench(path, repository, createPostgresEngine({ ...server.connection, ...connection }), cleanup);
  }
  async context(signal: AbortSignal = new AbortController().signal): Promise<EngineContext> {
    const workDir = join(this.folder, uuidv7());
    await mkdir(workDir, { mode: 0o700 });
    return { workDir, signal, clock: systemClock, progress: () => undefined, log: () => undefined };
  }
  async backup(
    options: { databases?: string[] | null; digests?: boolean; signal?: AbortSignal; systemId?: string } = {},
  ): Promise<Manifest> {
    const context = await this.context(options.signal);
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
      facts = await this.engine.backup(
        { databases: options.databases === undefined ? ['shop'] : options.databases, digests: options.digests ?? true },
        writer,
        context,
      );
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    return (await writer.publish(facts, new Date().toISOString())).manifest;
  }
  async restore(
    backupId: string,
    mode: RestoreMode,
    jobId = uuidv7(),
  ): Promise<{ jobId: string; oldKeptAs: string | null; tables: number }> {
    const source = await this.repository.open(ref, backupId);
    const { hash } = await this.engine.plan(mode, source, await this.context());
    const result = await this.engine.restore({ mode, jobId, planHash: hash }, source, await this.context());
    return { jobId, oldKeptAs: result.oldKeptAs, tables: result.tables };
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** The code with which something was refused; a text that fits no code when it was not. */
export const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'nothing was refused',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );
