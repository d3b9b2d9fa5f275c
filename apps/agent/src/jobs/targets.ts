import { isDeepStrictEqual } from 'node:util';
import type { Clock, Engine, EngineServices, Repository } from '@lastgood/core';
import { engineNamed } from '@lastgood/engines';
import { createServiceControl, resolveService } from '@lastgood/host';
import type { TargetRef } from '@lastgood/protocol';
import type { AgentConfig, TargetConfig } from '../config/agent-config.ts';
import type { RepositoryConfig } from '../config/repository-config.ts';
import type { Journal } from '../journal/journal.ts';
import { readAcceptedSequence } from '../repositories/accepted-sizes.ts';
import { type OpenOptions, openRepository } from '../repositories/open-repository.ts';
import { locationOf } from '../repositories/repository-access.ts';
import { SerialQueue } from '../serial-queue.ts';
import { RemovalLog } from './removal-log.ts';

/** A repository of a target beside its first one. */
export interface CopyRepository {
  readonly name: string;
  readonly graceMs: number;
  removalLog(clock: Pick<Clock, 'now'>): RemovalLog;
  open(options?: OpenOptions): Promise<Repository>;
}

/** One target of the agent file with what its names mean on this host. */
export interface Target {
  readonly name: string;
  readonly ref: TargetRef;
  readonly config: TargetConfig;
  readonly engine: Engine;
  readonly graceMs: number;
  removalLog(clock: Pick<Clock, 'now'>): RemovalLog;
  /** The sequence up to which this host has accepted the sizes of the backups. */
  acceptedSequence(): Promise<number | null>;
  /** Opened anew for each job, so that an unmounted disk is noticed before anything is written; IO_ERROR when it does not answer. */
  repository(options?: OpenOptions): Promise<Repository>;
  /** Where its backups are copied to, in the order of the agent file. */
  readonly copies: readonly CopyRepository[];
}

/** What the agent file gives the engine of a target beside its connection. */
export function servicesOf(
  { hooks, restoreFolders, restoreTests }: AgentConfig,
  target: string,
  { service, stream, allow }: TargetConfig,
): EngineServices {
  return {
    target,
    service: service === undefined ? null : createServiceControl(resolveService(service, hooks)),
    restoreFolders,
    restoredRoles: allow.roles,
    restoreTests: { ...restoreTests, allowUncontained: allow.uncontainedRestoreTests },
    ...(stream === undefined ? {} : { streamOptions: stream }),
  };
}

const graceOf = (repository: RepositoryConfig | undefined): number => (repository?.graceHours ?? 24) * 3_600_000;

/** The targets of an agent file, by name; those that `before` has with the same settings stay the same objects. */
export function targetsOf(
  config: AgentConfig,
  journal: Journal,
  openings = new SerialQueue(),
  before?: { readonly config: AgentConfig; readonly targets: ReadonlyMap<string, Target> },
): Map<string, Target> {
  const targets = new Map<string, Target>();
  const open = (name: string, options?: OpenOptions): Promise<Repository> => {
    const repository = config.repositories[name];
    return openings.run(repository === undefined ? name : locationOf(repository), () =>
      openRepository(config, name, journal, options),
    );
  };
  for (const [name, target] of Object.entries(config.targets)) {
    const repository = config.repositories[target.repository];
    const { restoreFolders, restoreTests, hooks, trust } = config;
    const copies = target.copies.map((copy) => config.repositories[copy]);
    const settings = [target, repository, copies, restoreFolders, restoreTests, hooks, trust];
    const old = before?.targets.get(name);
    if (
      old !== undefined &&
      isDeepStrictEqual(settings, [
        old.config,
        before?.config.repositories[old.config.repository],
        old.config.copies.map((copy) => before?.config.repositories[copy]),
        before?.config.restoreFolders,
        before?.config.restoreTests,
        before?.config.hooks,
        before?.config.trust,
      ])
    ) {
      targets.set(name, old);
      continue;
    }
    targets.set(name, {
      name,
      ref: { environment: config.environment, host: config.host, target: name },
      config: target,
      engine: engineNamed(target.engine).create(target.connection, servicesOf(config, name, target)),
      graceMs: graceOf(repository),
      removalLog: (clock) => new RemovalLog(journal, name, clock),
      acceptedSequence: () => readAcceptedSequence(config.dataDir, name),
      repository: (options) => open(target.repository, options),
      copies: target.copies.map((copy) => ({
        name: copy,
        graceMs: graceOf(config.repositories[copy]),
        removalLog: (clock) => new RemovalLog(journal, `${name}@${copy}`, clock),
        open: (options) => open(copy, options),
      })),
    });
  }
  return targets;
}
