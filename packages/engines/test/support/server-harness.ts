import { chown, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  Engine,
  EngineContext,
  RecoverySource,
  Repository,
  StepRunner,
  StreamCheck,
  StreamContext,
} from '@lastgood/core';
import { systemClock, uuidv7 } from '@lastgood/host';
import type { Manifest, RestorePlanSummary, RestoreRequest } from '@lastgood/protocol';
import { createFolderRepository } from '@lastgood/repository';
import { type PostgresServer, temporaryFolder, testLimits } from '@lastgood/testkit';
import { createPostgresEngine, postgresMethods } from '../../src/postgres/index.ts';
import { ref } from './engine-harness.ts';

type Server = Pick<PostgresServer, 'connection' | 'query' | 'dataDir'>;

/** The engine over one repository and one restore folder, with its stream, as the agent would drive them, without the agent. */
export class ServerHarness implements AsyncDisposable {
  readonly folder: string;
  readonly restoreFolder: string;
  readonly repository: Repository;
  readonly engine: Engine;
  /** The steps of restores: what they did, and how it is taken back. */
  readonly steps: { kind: string; compensation: string | null }[] = [];
  readonly notes: string[] = [];
  readonly #cleanup: AsyncDisposableStack;
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  private constructor(folder: string, repository: Repository, engine: Engine, cleanup: AsyncDisposableStack) {
    this.folder = folder;
    this.restoreFolder = join(folder, 'restores');
    this.repository = repository;
    this.engine = engine;
    this.#cleanup = cleanup;
  }

  static async open(server: Server, streamOptions?: object): Promise<ServerHarness> {
    const cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    const { uid, gid } = await stat(server.dataDir);
    const restoreFolder = join(path, 'restores');
    await mkdir(restoreFolder);
    await chown(restoreFolder, uid, gid);
    await chown(path, uid, gid);
    const repository = await createFolderRepository({ understood: postgresMethods, path: join(path, 'repository') });
    const engine = createPostgresEngine(server.connection, {
      restoreFolders: { drill: restoreFolder },
      streamOptions,
      restoreTests: testLimits,
    });
    return new ServerHarness(path, repository, engine, cleanup);
  }

  async context(signal: AbortSignal = new AbortController().signal): Promise<EngineContext> {
    const workDir = join(this.folder, uuidv7());
    await mkdir(workDir, { mode: 0o700 });
    const steps: StepRunner = {
      run: async (step, effect) => {
        this.steps.push({ kind: step.kind, compensation: step.compensation?.kind ?? null });
        return await effect();
      },
      during: async () => {
        throw new Error('no step of this engine lasts for a while');
      },
    };
    return { workDir, signal, clock: systemClock, steps, progress: () => undefined, log: () => undefined };
  }

  async backup(options: object = {}): Promise<Manifest> {
    const context = await this.context();
    const { systemId } = await this.engine.identify(context);
    const times = { attempt: 1, startedAt: new Date().toISOString() };
    const names = { ref, backupId: uuidv7(), jobId: uuidv7(), engine: 'postgres', lastgoodVersion: '0.1.0' };
    const writer = await this.repository.begin({ ...names, ...times }, systemId);
    try {
      const facts = await this.engine.backup(
        { method: 'physical', contents: null, options: { ...options } },
        writer,
        context,
      );
      return (await writer.publish(facts, new Date().toISOString())).manifest;
    } catch (error) {
      await writer.abandon();
      throw error;
    }
  }

  get source(): RecoverySource {
    return {
      list: () => this.repository.list(ref),
      open: (backupId) => this.repository.open(ref, backupId),
      log: (streamId) => this.repository.log(ref, streamId),
    };
  }

  async verify(level: 2 | 3 | 4 | 5, backupId: string) {
    return await this.engine.verify(level, await this.repository.open(ref, backupId), await this.context());
  }

  async plan(point: RestoreRequest['point']): Promise<RestorePlanSummary> {
    return await this.engine.plan(serverRequest(point), this.source, await this.context());
  }

  /** Plans and restores; returns the data folder of the stopped copy. */
  async restore(
    point: RestoreRequest['point'],
    signal?: AbortSignal,
  ): Promise<{ dataDir: string; recoveryPoint: string }> {
    const { hash } = await this.plan(point);
    const order = { request: serverRequest(point), jobId: uuidv7(), planHash: hash };
    const { into, recoveryPoint } = await this.engine.restore(order, this.source, await this.context(signal));
    return { dataDir: join(this.restoreFolder, into.replace('drill/', ''), 'data'), recoveryPoint };
  }

  #streamContext(): StreamContext {
    return {
      log: this.repository.log(ref, 'wal'),
      spoolFolder: join(this.folder, 'spool'),
      signal: this.#stop.signal,
      clock: systemClock,
      note: (message) => this.notes.push(message),
    };
  }
  /** Starts the stream. */
  stream(): void {
    this.#stop = new AbortController();
    this.#running = this.engine.stream?.run(this.#streamContext()) ?? Promise.reject(new Error('no stream'));
    this.#running.catch(() => undefined);
  }
  /** Resolves or rejects as the stream ends. */
  async streamEnded(): Promise<void> {
    await this.#running;
  }
  async stopStream(): Promise<void> {
    this.#stop.abort();
    await this.#running.catch(() => undefined);
    this.#stop = new AbortController();
  }
  async check(): Promise<StreamCheck> {
    if (this.engine.stream === undefined) throw new Error('no stream');
    return await this.engine.stream.check(this.#streamContext());
  }
  async windows() {
    return (await this.engine.recoveryWindows?.(this.source, await this.context())) ?? [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopStream();
    await this.engine.stream?.remove({ signal: new AbortController().signal }).catch(() => undefined);
    await this.#cleanup.disposeAsync();
  }
}

const serverRequest = (point: RestoreRequest['point']): RestoreRequest => ({
  scope: { kind: 'server' },
  point,
  into: { way: 'folder', folder: 'drill' },
  options: {},
});
