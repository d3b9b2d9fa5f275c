import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import {
  type ArtifactSink,
  type BackupFacts,
  Bug,
  type Clock,
  type Engine,
  type EngineContext,
  type EngineDefinition,
  Failure,
  type RecoverySource,
  type Repository,
  type RestoreResult,
  type StepRunner,
  type VerifyOutcome,
} from '@lastgood/core';
import { systemClock, uuidv7 } from '@lastgood/host';
import type {
  Compensation,
  JobOptions,
  Manifest,
  RestorePlanSummary,
  RestoreRequest,
  VerificationLevel,
} from '@lastgood/protocol';
import { temporaryFolder } from '../temporary-folder.ts';

/** A way to restore as the suite tries it. */
export interface TriedRestore {
  readonly name: string;
  readonly request: (backupId: string) => RestoreRequest;
  /** What the restored data is, when it is not what clients of the server read. */
  readonly restored?: () => Promise<string>;
}

/** A real server of an engine, and what the suite needs to know about it. */
export interface EngineSubject extends AsyncDisposable {
  /** The connection of the agent file, of a user with the documented rights alone. */
  readonly connection: object;
  /** The same with a wrong secret. */
  readonly wrongSecret: object;
  readonly services: Parameters<EngineDefinition['create']>[1];
  readonly method: string;
  /** With these options a backup can be verified at `highest`. */
  readonly options: JobOptions;
  readonly highest: VerificationLevel;
  readonly contents: readonly string[];
  readonly restores: readonly TriedRestore[];
  /** Replaces all data by that of a generation. */
  fill(generation: string): Promise<void>;
  /** What clients read now: equal for equal data, and different for each generation. */
  served(): Promise<string>;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Processes and files that jobs have left, apart from what restores keep for undo. */
  leftovers(): Promise<string[]>;
}

export const never = new AbortController().signal;
export const ref = { environment: 'test', host: 'db-1', target: 'subject' };

/** The process of the agent is gone: nothing is taken back in it. */
export class Killed extends Error {
  override readonly name = 'Killed';
}
/** A moment of a step, as the agent knows them. */
export type StepPoint = `${'begun' | 'effect'}:${number}`;

/**
 * Journals steps in memory as the agent does on the disk. At `killAt` the job ends as if its process had died; `recover` then does what the
 * next start of the agent does, with an engine of its own.
 */
export class StepJournal implements StepRunner {
  readonly #takeBack: (compensation: Compensation) => Promise<void>;
  readonly #killAt: StepPoint | null;
  readonly #open: (Compensation | null)[] = [];
  steps = 0;

  constructor(takeBack: (compensation: Compensation) => Promise<void>, killAt: StepPoint | null = null) {
    this.#takeBack = takeBack;
    this.#killAt = killAt;
  }
  async run<T>({ compensation }: Parameters<StepRunner['run']>[0], effect: () => Promise<T>): Promise<T> {
    const step = this.steps;
    this.steps += 1;
    this.#open.push(compensation);
    if (this.#killAt === `begun:${step}`) throw new Killed();
    const value = await effect();
    if (this.#killAt === `effect:${step}`) throw new Killed();
    return value;
  }
  async during<T>(
    step: Parameters<StepRunner['during']>[0],
    effect: () => Promise<void>,
    work: () => Promise<T>,
  ): Promise<T> {
    const before = this.#open.length;
    await this.run(step, effect);
    try {
      const value = await work();
      this.#open.splice(before, 1);
      await this.#takeBack(step.compensation);
      return value;
    } catch (error) {
      await this.fail(error, before);
      throw error;
    }
  }
  /** Takes back what is open from a step on, because the job has failed; a killed process does nothing. */
  async fail(error: unknown, from = 0): Promise<void> {
    if (error instanceof Killed) return;
    for (const compensation of this.#open.splice(from).toReversed())
      if (compensation !== null) await this.#takeBack(compensation);
  }
  /** Takes back what a killed process has left open, the newest first, and each twice: handlers are idempotent. */
  async recover(): Promise<void> {
    for (const compensation of this.#open.splice(0).toReversed()) {
      if (compensation === null) continue;
      await this.#takeBack(compensation);
      await this.#takeBack(compensation);
    }
  }
}

/** A backup that several tests use, and what clients read when it was taken. */
export interface SharedBackup {
  readonly manifest: Manifest;
  readonly served: string;
  /** Wall times (ms since the epoch) before and after it. */
  readonly from: number;
  readonly until: number;
}

/** One engine over one server and one repository, as the agent drives them. */
export class EngineHarness implements AsyncDisposable {
  readonly definition: EngineDefinition;
  readonly subject: EngineSubject;
  readonly repository: Repository;
  readonly folder: string;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(
    definition: EngineDefinition,
    subject: EngineSubject,
    parts: { repository: Repository; folder: string; cleanup: AsyncDisposableStack },
  ) {
    this.definition = definition;
    this.subject = subject;
    this.repository = parts.repository;
    this.folder = parts.folder;
    this.#cleanup = parts.cleanup;
  }

  static async open(
    definition: EngineDefinition,
    open: () => Promise<EngineSubject>,
    openRepository: (path: string) => Promise<Repository>,
  ): Promise<EngineHarness> {
    await using cleanup = new AsyncDisposableStack();
    const folder = cleanup.use(await temporaryFolder()).path;
    const subject = cleanup.use(await open());
    const repository = await openRepository(join(folder, 'repository'));
    return new EngineHarness(definition, subject, { repository, folder, cleanup: cleanup.move() });
  }

  engine(connection: object = this.subject.connection): Engine {
    return this.definition.create(connection, this.subject.services);
  }

  async context(more: Partial<EngineContext> = {}): Promise<EngineContext> {
    const workDir = join(this.folder, uuidv7());
    await mkdir(workDir, { mode: 0o700 });
    const clock: Clock = systemClock;
    const steps = this.journal();
    return { workDir, signal: never, clock, steps, progress: () => undefined, log: () => undefined, ...more };
  }

  /** The steps of one job. They are taken back by an engine of their own, as after a restart of the agent. */
  journal(killAt: StepPoint | null = null): StepJournal {
    return new StepJournal(async ({ kind, params }) => {
      const takeBack = this.engine().compensationOf(kind);
      if (takeBack === null) throw new Bug(`the engine has no compensation "${kind}"`);
      await takeBack(params, await this.context());
    }, killAt);
  }
  async #carryOut<T>(context: EngineContext, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (context.steps instanceof StepJournal) await context.steps.fail(error);
      throw error;
    }
  }
  #shared: Promise<SharedBackup> | undefined;

  /** A backup of the generation `first`, taken once: a backup of some engines takes long. */
  sharedBackup(): Promise<SharedBackup> {
    const take = async (): Promise<SharedBackup> => {
      await this.subject.fill('first');
      const served = await this.subject.served();
      const from = Date.now();
      return { manifest: await this.backup(), served, from, until: Date.now() };
    };
    this.#shared ??= take();
    return this.#shared;
  }

  /** Backs up everything; `sink` stands between the engine and the repository. */
  async backup(
    more: Partial<EngineContext> = {},
    engine = this.engine(),
    sink: (writer: ArtifactSink) => ArtifactSink = (writer) => writer,
  ): Promise<Manifest> {
    const context = await this.context(more);
    const { systemId } = await engine.identify(context);
    const about = { jobId: uuidv7(), attempt: 1, engine: engine.name, lastgoodVersion: '0.1.0' };
    const writer = await this.repository.begin(
      { ref, backupId: uuidv7(), startedAt: new Date().toISOString(), ...about },
      systemId,
    );
    const { method, options } = this.subject;
    let facts: BackupFacts;
    try {
      facts = await this.#carryOut(context, () =>
        engine.backup({ method, contents: null, options }, sink(writer), context),
      );
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    return (await writer.publish(facts, new Date().toISOString())).manifest;
  }

  source(): RecoverySource {
    return {
      list: () => this.repository.list(ref),
      open: (backupId) => this.repository.open(ref, backupId),
      log: (streamId) => this.repository.log(ref, streamId),
    };
  }
  async verify(level: VerificationLevel, backupId: string): Promise<VerifyOutcome> {
    return await this.engine().verify(level, await this.repository.open(ref, backupId), await this.context());
  }
  async plan(request: RestoreRequest): Promise<RestorePlanSummary> {
    return await this.engine().plan(request, this.source(), await this.context());
  }
  async restore(request: RestoreRequest, jobId: string, context: EngineContext): Promise<RestoreResult> {
    const { hash } = await this.plan(request);
    const order = { request, jobId, planHash: hash };
    return await this.#carryOut(context, () => this.engine().restore(order, this.source(), context));
  }
  /** The ids of the stored backups. */
  async listed(): Promise<string[]> {
    return (await this.repository.list(ref)).backups.map(({ manifest }) => manifest.backupId);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** Stores as a repository on a full disk does: the first bytes fit, and then no more. */
export const onFullDisk = (writer: ArtifactSink): ArtifactSink => ({
  add: async (meta, write) =>
    await writer.add(meta, async () => {
      const full = new Writable({
        write: (_chunk, _encoding, done) => done(new Failure('NO_SPACE', 'no space left in the repository')),
      });
      await write(full);
      throw new Failure('NO_SPACE', 'no space left in the repository');
    }),
  log: (streamId) => writer.log(streamId),
});

export const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'succeeded',
    (error: unknown) => (error instanceof Failure ? error.code : String(error)),
  );
