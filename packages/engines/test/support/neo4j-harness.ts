import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type BackupFacts,
  type Engine,
  type EngineContext,
  Failure,
  type RecoverySource,
  type Repository,
  type RestoreResult,
  type StepRunner,
  type VerifyOutcome,
} from '@lastgood/core';
import { createServiceControl, resolveService, systemClock, uuidv7 } from '@lastgood/host';
import type { Compensation, JobOptions, Manifest, RestoreRequest, VerificationLevel } from '@lastgood/protocol';
import { createFolderRepository } from '@lastgood/repository';
import { type Neo4jServer, type Neo4jService, temporaryFolder, testLimits } from '@lastgood/testkit';
import { createNeo4jEngine, DUMP } from '../../src/neo4j/index.ts';
import { ref } from './engine-harness.ts';

/** The steps of one call, without a journal: they are taken back in reverse order when the call fails. */
class MemorySteps implements StepRunner {
  readonly kinds: string[] = [];
  readonly #open: { readonly compensation: Compensation | null }[] = [];
  readonly #takeBack: (compensation: Compensation) => Promise<void>;

  constructor(takeBack: (compensation: Compensation) => Promise<void>) {
    this.#takeBack = takeBack;
  }
  async run<T>(step: Parameters<StepRunner['run']>[0], effect: () => Promise<T>): Promise<T> {
    this.kinds.push(step.kind);
    this.#open.push(step);
    return await effect();
  }
  async during<T>(
    step: Parameters<StepRunner['during']>[0],
    effect: () => Promise<void>,
    work: () => Promise<T>,
  ): Promise<T> {
    await this.run(step, effect);
    const at = this.#open.length - 1;
    try {
      const value = await work();
      this.#open.splice(at, 1);
      await this.#takeBack(step.compensation);
      return value;
    } catch (error) {
      await this.compensate(at);
      throw error;
    }
  }
  async compensate(from = 0): Promise<void> {
    for (const { compensation } of this.#open.splice(from).toReversed())
      if (compensation !== null) await this.#takeBack(compensation);
  }
}

/** One Neo4j engine over one repository, as the agent would drive them, without the agent. */
export class Neo4jHarness implements AsyncDisposable {
  readonly engine: Engine;
  readonly repository: Repository;
  readonly #folder: string;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(engine: Engine, repository: Repository, folder: string, cleanup: AsyncDisposableStack) {
    this.engine = engine;
    this.repository = repository;
    this.#folder = folder;
    this.#cleanup = cleanup;
  }
  /** Without a service the engine cannot stop the server. */
  static async open(server: Neo4jServer, service: Neo4jService | null, connection: object = {}): Promise<Neo4jHarness> {
    const cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryFolder());
    const repository = await createFolderRepository({ understood: [DUMP], path: join(path, 'repository') });
    const control = service === null ? null : createServiceControl(resolveService(service.commands, {}));
    const engine = createNeo4jEngine(
      { ...server.connection, ...connection },
      {
        target: ref.target,
        service: control,
        restoreTests: testLimits,
      },
    );
    return new Neo4jHarness(engine, repository, path, cleanup);
  }

  /** Runs one call of the engine with steps that are taken back when it fails. */
  async call<T>(work: (context: EngineContext) => Promise<T>): Promise<{ value: T; steps: readonly string[] }> {
    const workDir = join(this.#folder, uuidv7());
    await mkdir(workDir, { mode: 0o700 });
    const signal = new AbortController().signal;
    const base = { workDir, signal, clock: systemClock, progress: () => undefined, log: () => undefined };
    const steps: MemorySteps = new MemorySteps(async ({ kind, params }) => {
      const handler = this.engine.compensationOf(kind);
      if (handler === null) throw new TypeError(`no compensation ${kind}`);
      await handler(params, { ...base, steps });
    });
    try {
      return { value: await work({ ...base, steps }), steps: steps.kinds };
    } catch (error) {
      await steps.compensate();
      throw error;
    }
  }

  async backup(options: JobOptions, contents: string[] | null = null): Promise<Manifest> {
    const { value } = await this.call(async (context) => {
      const { systemId } = await this.engine.identify(context);
      const backupId = uuidv7();
      const writer = await this.repository.begin(
        {
          ref,
          backupId,
          jobId: uuidv7(),
          attempt: 1,
          engine: DUMP.engine,
          startedAt: new Date().toISOString(),
          lastgoodVersion: '0.1.0',
        },
        systemId,
      );
      let facts: BackupFacts;
      try {
        facts = await this.engine.backup({ method: DUMP.method, contents, options }, writer, context);
      } catch (error) {
        await writer.abandon();
        throw error;
      }
      return (await writer.publish(facts, new Date().toISOString())).manifest;
    });
    return value;
  }
  async verify(level: VerificationLevel, { backupId }: Manifest): Promise<VerifyOutcome> {
    const source = await this.repository.open(ref, backupId);
    return (await this.call((context) => this.engine.verify(level, source, context))).value;
  }
  request({ backupId }: Manifest, scope: RestoreRequest['scope']): RestoreRequest {
    return { scope, point: { kind: 'backup', backupId }, into: { way: 'swap' }, options: {} };
  }
  source(): RecoverySource {
    return {
      list: () => this.repository.list(ref),
      open: (backupId) => this.repository.open(ref, backupId),
      log: () => {
        throw new Failure('BAD_INPUT', 'no log stream');
      },
    };
  }
  async plan(request: RestoreRequest) {
    return (await this.call((context) => this.engine.plan(request, this.source(), context))).value;
  }
  async restore(request: RestoreRequest, jobId = uuidv7()): Promise<RestoreResult> {
    const { hash } = await this.plan(request);
    const order = { request, jobId, planHash: hash };
    return (await this.call((context) => this.engine.restore(order, this.source(), context))).value;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}
