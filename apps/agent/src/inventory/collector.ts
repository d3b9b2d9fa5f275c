import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Clock,
  type EngineContext,
  Failure,
  matchesPattern,
  noSteps,
  type RecoverySource,
  type Repository,
  summariesOf,
} from '@lastgood/core';
import { makePrivateFolder } from '@lastgood/host';
import {
  type BackupSummary,
  type Finding,
  findingOfError,
  LIMITS,
  makeFinding,
  type RecoveryWindow,
  type StreamReport,
  type TargetInventory,
} from '@lastgood/protocol';
import { type HostCommands, NO_HOST_COMMANDS } from '../jobs/host-jobs.ts';
import type { Target } from '../jobs/targets.ts';
import { SerialQueue } from '../serial-queue.ts';
import { boundedFinding, type HostInventory } from './bounded-inventory.ts';
import { readCopies, withCopies } from './copy-inventory.ts';

export const PROBE_MS = 30_000;
/** A repository that has not been read after this time is reported as not answering. */
const READ_MS = 60_000;
const MAX_BROKEN = 5;

/** A context for short looks that belong to no job. */
export async function probeContext(
  dataDir: string,
  name: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<EngineContext & AsyncDisposable> {
  const workDir = join(dataDir, 'jobs', `look-${name}`);
  await makePrivateFolder(workDir);
  return {
    workDir,
    signal,
    clock,
    steps: noSteps,
    progress: () => undefined,
    log: () => undefined,
    [Symbol.asyncDispose]: () => rm(workDir, { recursive: true, force: true }),
  };
}

export interface InventoryCollectorParts {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly targets: () => ReadonlyMap<string, Target>;
  /** Checks and hooks of the agent file; none when absent. */
  readonly commands?: () => HostCommands;
  /** Changes when a job of the target ends (JobRunner). */
  readonly generation: (target: string) => number;
  /** What is reported with a target beside the findings of its server and repository. */
  readonly remarks: (target: string) => readonly Finding[];
  /** Where the log stream of a target is; undefined without one. */
  readonly stream?: (target: string) => StreamReport | undefined;
  /** The agent stops. */
  readonly signal: AbortSignal;
  readonly readMs?: number;
}
interface Scan {
  readonly target: string;
  /** Null: the repository could not be read, which says nothing of its backups. */
  readonly backups: readonly BackupSummary[] | null;
  /** False: only copies could be read, which says nothing of what is missing in them. */
  readonly isWhole: boolean;
  readonly removed: readonly string[];
  readonly findings: readonly Finding[];
  /** Null: the engine has no log stream, or its windows could not be read. */
  readonly windows: readonly RecoveryWindow[] | null;
  readonly generation: number;
}
type Probed = Awaited<ReturnType<Target['engine']['probe']>>;

/** A failure of a check as a finding; what nobody expected is named by what was checked. */
const findingOf = (error: unknown, what: string): Finding =>
  findingOfError((error instanceof Failure ? error : new Failure('BUG', what)).wireError, null);

/** InventoryCollector at the targets of this host: what their servers say, and what their repositories hold. */
export class InventoryCollector {
  readonly #parts: InventoryCollectorParts;
  /** The last probe of each target: two at once would share a work folder. */
  readonly #probes = new Map<string, Promise<unknown>>();
  readonly #readings: SerialQueue;

  constructor(parts: InventoryCollectorParts) {
    this.#parts = parts;
    this.#readings = new SerialQueue(parts.readMs ?? READ_MS, parts.signal);
  }

  /** All servers first, then all repositories: between the reading of a repository and its telling lies as little as can be. */
  async collect(): Promise<HostInventory> {
    const targets = [...this.#parts.targets().values()];
    const probes = await Promise.all(targets.map((target) => this.#probe(target)));
    const scans = await Promise.all(
      targets.map((target, index) => this.#scanAll(target, probes[index]?.systemId ?? null)),
    );
    const read = scans.filter(({ backups }) => backups !== null);
    const { checks, hooks } = this.#parts.commands?.() ?? NO_HOST_COMMANDS;
    return {
      targets: targets.flatMap((target, index) => {
        const [probed, scan] = [probes[index], scans[index]];
        return probed === undefined || scan === undefined ? [] : [this.#inventory(target, probed, scan)];
      }),
      backups: read.flatMap(({ backups }) => backups ?? []).sort((a, b) => (a.backupId < b.backupId ? -1 : 1)),
      removed: read.flatMap(({ removed }) => removed),
      scanned: read.flatMap(({ target, isWhole }) => (isWhole ? [target] : [])),
      checks: Object.keys(checks).toSorted(),
      hooks: Object.keys(hooks).toSorted(),
      overtaken: () =>
        new Set(
          read
            .filter(({ target, generation }) => this.#parts.generation(target) !== generation)
            .map(({ target }) => target),
        ),
    };
  }

  /** The repositories that have been asked and have not answered. */
  get unresponsive(): string[] {
    return this.#readings.unresponsive;
  }

  /** Resolves when no look of this process works any more; what a dead disk holds is left behind. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#probes.values(), this.#readings.settled()]);
  }

  /** Probes the server. A probe that hangs is aborted, and one that fails becomes a finding. */
  async #probe(target: Target): Promise<Probed> {
    await this.#probes.get(target.name);
    const asked = async (): Promise<Probed> => {
      const { dataDir, clock, signal } = this.#parts;
      const until = AbortSignal.any([signal, AbortSignal.timeout(PROBE_MS)]);
      await using context = await probeContext(dataDir, target.name, clock, until);
      return await target.engine.probe(context);
    };
    const work = asked().catch((error: unknown) => ({
      state: 'unreachable' as const,
      version: null,
      systemId: null,
      sizeBytes: null,
      databases: [],
      findings: [findingOf(error, 'the server could not be asked')],
    }));
    this.#probes.set(target.name, work);
    return await work;
  }

  /** The first repository of a target together with those of its copies. */
  async #scanAll(target: Target, systemId: string | null): Promise<Scan> {
    const first = await this.#scan(target, systemId);
    if (target.copies.length === 0) return first;
    const run = <T>(name: string, work: () => Promise<T>): Promise<T> =>
      this.#readings.run(`the repository "${name}"`, work);
    const copies = await Promise.all(target.copies.map((copy) => readCopies(copy, target.ref, run)));
    return { ...first, ...withCopies(first, copies, this.#parts.clock.now()) };
  }

  async #scan(target: Target, systemId: string | null): Promise<Scan> {
    const { name, config } = target;
    const generation = this.#parts.generation(name);
    try {
      return await this.#readings.run(`the repository "${config.repository}"`, async () => {
        const repository = await target.repository();
        const { backups, broken } = await repository.list(target.ref);
        // In this order: what is removed in between is in both, and removed counts.
        const removed = await repository.removed(target.ref);
        const findings: Finding[] = broken
          .slice(0, MAX_BROKEN)
          .map(({ backupId, error: { code, message } }) =>
            makeFinding('BACKUP_UNREADABLE', { kind: 'backup', name: backupId }, { error: code, reason: message }),
          );
        if (systemId !== null)
          await repository
            .checkOwner(target.ref, systemId)
            .catch((error: unknown) => findings.push(findingOf(error, 'the owner of its backups is unknown')));
        const windows = await this.#windows(target, repository, { backups, broken }, findings);
        const summaries = summariesOf(backups, config.repository);
        return { target: name, backups: summaries, isWhole: true, removed, findings, windows, generation };
      });
    } catch (error) {
      const findings = [findingOf(error, 'the repository could not be read')];
      return { target: name, backups: null, isWhole: false, removed: [], findings, windows: null, generation };
    }
  }

  /** The instants that can be restored. What keeps them from being read is a finding, and no reason to report no backups. */
  async #windows(
    { name, engine, ref }: Target,
    repository: Repository,
    listed: Awaited<ReturnType<Repository['list']>>,
    findings: Finding[],
  ): Promise<readonly RecoveryWindow[] | null> {
    if (engine.recoveryWindows === undefined) return null;
    const { dataDir, clock, signal } = this.#parts;
    try {
      await using context = await probeContext(dataDir, `windows-${name}`, clock, signal);
      const source: RecoverySource = {
        list: async () => listed,
        open: (backupId) => repository.open(ref, backupId),
        log: (streamId) => repository.log(ref, streamId),
      };
      return await engine.recoveryWindows(source, context);
    } catch (error) {
      findings.push(findingOf(error, 'the recovery windows could not be read'));
      return null;
    }
  }

  #inventory({ name, engine, config }: Target, probed: Probed, scan: Scan): TargetInventory {
    const unlisted = probed.databases.length - LIMITS.inventoryDatabases;
    const more = unlisted > 0 ? [makeFinding('DATABASES_NOT_LISTED', null, { count: unlisted })] : [];
    const findings = [...this.#parts.remarks(name), ...probed.findings, ...more, ...scan.findings];
    const stream = this.#parts.stream?.(name);
    return {
      name,
      engine: engine.name,
      labels: config.labels,
      repository: config.repository,
      ...probed,
      databases: probed.databases
        .slice(0, LIMITS.inventoryDatabases)
        .map((database) =>
          matchesPattern(database.name, config.exclude) ? { ...database, excluded: true } : database,
        ),
      findings: findings.map((finding) => boundedFinding(finding)),
      ...(stream === undefined ? {} : { stream }),
      ...(scan.windows === null || scan.windows.length + (stream === undefined ? 0 : 1) === 0
        ? {}
        : { windows: [...scan.windows] }),
    };
  }
}
