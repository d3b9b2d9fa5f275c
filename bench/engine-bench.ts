import { join } from 'node:path';
import type { Engine, EngineContext, EngineDefinition, RecoverySource, Repository, StepRunner } from '@lastgood/core';
import { createServiceControl, systemClock, uuidv7 } from '@lastgood/host';
import type { JobOptions, Manifest, RestoreRequest } from '@lastgood/protocol';
import { createFolderRepository } from '@lastgood/repository';

const ref = { environment: 'bench', host: 'bench', target: 'bench' };

export interface BenchedEngine {
  backup(options: JobOptions): Promise<Manifest>;
  verify(manifest: Manifest): Promise<void>;
  /** Restores by swap. Returns how long (s) the server was stopped, from the stop until it was ready. */
  restore(manifest: Manifest, scope: RestoreRequest['scope']): Promise<{ readonly stoppedSeconds: number }>;
}

/** Steps without a journal. `stoppedSeconds` is the time from the beginning of a stop to the end of the last step. */
class TimedSteps implements StepRunner {
  readonly #engine: () => Engine;
  readonly #context: () => EngineContext;
  #stoppedAt: number | null = null;
  stoppedSeconds = 0;

  constructor(engine: () => Engine, context: () => EngineContext) {
    this.#engine = engine;
    this.#context = context;
  }
  async run<T>(step: Parameters<StepRunner['run']>[0], effect: () => Promise<T>): Promise<T> {
    if (step.kind === 'stop-server') this.#stoppedAt = performance.now();
    const value = await effect();
    this.#note();
    return value;
  }
  async during<T>(
    step: Parameters<StepRunner['during']>[0],
    effect: () => Promise<void>,
    work: () => Promise<T>,
  ): Promise<T> {
    await this.run(step, effect);
    const value = await work();
    await this.#engine().compensationOf(step.compensation.kind)?.(step.compensation.params, this.#context());
    this.#note();
    return value;
  }
  #note(): void {
    if (this.#stoppedAt !== null) this.stoppedSeconds = (performance.now() - this.#stoppedAt) / 1000;
  }
}

/** Drives one engine over a repository as an agent does, without its journal. */
export async function benchEngine(
  definition: EngineDefinition,
  connection: object,
  service: Parameters<typeof createServiceControl>[0],
  folder: string,
): Promise<BenchedEngine> {
  const methods = definition.methods.map(({ name, roles }) => ({ engine: definition.name, method: name, roles }));
  const path = join(folder, 'repository');
  const repository: Repository = await createFolderRepository({ understood: methods, path });
  const engine = definition.create(connection, {
    target: ref.target,
    service: createServiceControl(service),
    restoreFolders: {},
  });
  const contextWith = (steps: StepRunner): EngineContext => ({
    workDir: folder,
    signal: new AbortController().signal,
    clock: systemClock,
    steps,
    log: () => undefined,
    progress: () => undefined,
  });
  const timed = (): { steps: TimedSteps; context: EngineContext } => {
    const steps: TimedSteps = new TimedSteps(
      () => engine,
      () => context,
    );
    const context: EngineContext = contextWith(steps);
    return { steps, context };
  };
  const source: RecoverySource = {
    list: () => repository.list(ref),
    open: (backupId) => repository.open(ref, backupId),
    log: (streamId) => repository.log(ref, streamId),
  };
  const [method] = definition.methods;
  return {
    async backup(options) {
      const { context } = timed();
      const { systemId } = await engine.identify(context);
      const startedAt = new Date().toISOString();
      const about = { jobId: uuidv7(), attempt: 1, engine: definition.name, startedAt, lastgoodVersion: 'bench' };
      const writer = await repository.begin({ ref, backupId: uuidv7(), ...about }, systemId);
      const facts = await engine.backup({ method: method.name, contents: null, options }, writer, context);
      return (await writer.publish(facts, new Date().toISOString())).manifest;
    },
    async verify({ backupId }) {
      const findings = await repository.verify(ref, backupId, 1, new AbortController().signal, () => undefined);
      if (findings.length > 0) throw new Error('the backup is not intact');
    },
    async restore({ backupId }, scope) {
      const request: RestoreRequest = {
        scope,
        point: { kind: 'backup', backupId },
        into: { way: 'swap' },
        options: {},
      };
      const { steps, context } = timed();
      const { hash } = await engine.plan(request, source, context);
      await engine.restore({ request, jobId: uuidv7(), planHash: hash }, source, context);
      return { stoppedSeconds: steps.stoppedSeconds };
    },
  };
}

export const storedBytes = ({ objects }: Manifest): number => objects.reduce((sum, { stored }) => sum + stored.size, 0);
