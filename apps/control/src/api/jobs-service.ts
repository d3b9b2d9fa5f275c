import { isDeepStrictEqual } from 'node:util';
import { Failure } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { type AdminApi, classOf, type JobSpec, type JobView, jobResultSchema } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';
import type { JobRecord } from '../catalog/jobs.ts';
import { protectedIds } from '../dispatch/holds.ts';
import { cancelJob, queueJob } from '../dispatch/job-commands.ts';
import { withManifestHash, withoutManifestHash } from '../dispatch/manifest-hash.ts';
import { isOverdue } from '../dispatch/overdue.ts';
import { waitingFor } from '../dispatch/waiting.ts';
import { type ApiParts, auditChange } from './api-parts.ts';
import { effectiveStateOf } from './effective-state.ts';
import { isOnline } from './host-state.ts';
import { scopeOf, selectTarget } from './target-selection.ts';

type CreateInput = Parameters<AdminApi['createJob']>[0];

/** The same key with the same request is the same job. Holds and hashes are added here, so they do not count. */
function isSameRequest(one: JobSpec, other: JobSpec): boolean {
  const asAsked = (spec: JobSpec): JobSpec =>
    spec.command === 'rotate' ? { ...spec, holds: [] } : withoutManifestHash(spec);
  return isDeepStrictEqual(asAsked(one), asAsked(other));
}

export class JobsService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  #view({ agentId, createdBy, job: stored }: JobRecord): JobView {
    const { registry, ledgers, clock } = this.#parts;
    const agent = registry.agent(agentId);
    // Memory is ahead of the row by leases alone.
    const job = agent === undefined ? stored : (ledgers.ledger(agentId).jobs.get(stored.jobId) ?? stored);
    const result = jobResultSchema.safeParse(job.result);
    const { state, endedAt, error } = effectiveStateOf(job);
    const online = isOnline(registry, agentId);
    return {
      jobId: job.jobId,
      environment: agent?.environment ?? 'unknown',
      host: agent?.host ?? 'unknown',
      target: job.spec.target,
      command: job.spec.command,
      spec: job.spec,
      state,
      attempt: job.attempt,
      createdAt: job.createdAt,
      startedAt: job.startedAt,
      endedAt,
      createdBy,
      startBy: job.startBy,
      cancelRequested: job.cancelRequested,
      deadlineMs: job.deadlineMs,
      hostOnline: online,
      hostSeenAt: agent?.lastSeenAt ?? null,
      overdue: !online && endedAt === null && isOverdue(job, clock.now(), registry.openedAt),
      waitingFor: online && agent !== undefined ? waitingFor(job, ledgers.ledger(agentId)) : [],
      progress: endedAt === null ? (registry.session(agentId)?.progressOf(job.jobId) ?? null) : null,
      error,
      result: result.success ? result.data : null,
    };
  }

  async list({ target, limit }: Parameters<AdminApi['jobs']>[0]): Promise<JobView[]> {
    const { jobs } = this.#parts.catalog;
    return (await jobs.list(await scopeOf(this.#parts, target), limit)).map((record) => this.#view(record));
  }

  async get(jobId: string): Promise<JobView> {
    return this.#view(await this.#record(jobId));
  }

  async #record(jobId: string): Promise<JobRecord> {
    const record = await this.#parts.catalog.jobs.get(jobId);
    if (record === undefined) throw new Failure('NOT_FOUND', `there is no job ${jobId}`);
    return record;
  }

  async #checkBackup(agentId: string, spec: JobSpec): Promise<void> {
    if (!('backupId' in spec) || spec.backupId === null) return;
    const backup = await this.#parts.catalog.backups.get(spec.backupId);
    if (backup === undefined || backup.agentId !== agentId || backup.summary.target !== spec.target)
      throw new Failure('NOT_FOUND', `target ${spec.target} has no backup ${spec.backupId}`);
  }

  /** A rotation always knows every hold, pending ones too, whatever the caller sent. */
  async #withHolds(agentId: string, spec: JobSpec): Promise<JobSpec> {
    if (spec.command !== 'rotate') return spec;
    const { catalog, ledgers } = this.#parts;
    const held = await catalog.backups.held({ agentId, target: spec.target });
    const kept = protectedIds(ledgers.ledger(agentId), spec.target, held);
    return { ...spec, holds: [...new Set([...spec.holds, ...kept])].sort() };
  }

  /** Creates a job, or returns the one that the same call has created before. */
  async create(input: CreateInput): Promise<JobView> {
    const { actor, clock, ledgers } = this.#parts;
    if (classOf(input.spec) === 'destructive' && actor.scope !== 'destroy' && actor.scope !== 'admin')
      throw new Failure('FORBIDDEN', `${input.spec.command} needs a token with scope destroy`);
    const { agent, record } = await selectTarget(this.#parts, input.target);
    if (input.spec.target !== record.inventory.name)
      throw new Failure(
        'BAD_INPUT',
        `the job names target "${input.spec.target}", the selector "${record.inventory.name}"`,
      );
    const known = await this.#knownJob(agent, input);
    if (known !== undefined) return known;
    await this.#checkBackup(agent.agentId, input.spec);
    const spec = await withManifestHash(
      this.#parts.catalog.backups,
      agent.agentId,
      await this.#withHolds(agent.agentId, input.spec),
    );
    const now = clock.now();
    const jobId = uuidv7(now);
    const origin = { kind: 'command', by: actor.name } as const;
    const times = { createdAt: now, startBy: now + input.startByMs, deadlineMs: input.deadlineMs };
    const job = { jobId, spec, origin, ...times };
    const subject = `${agent.environment}/${agent.host}/${spec.target}`;
    const audit = auditChange(this.#parts, `job.${spec.command}`, subject, jobId);
    try {
      await queueJob(ledgers, agent, job, input.idempotencyKey, [audit]);
    } catch (error) {
      // The same call may have come twice at once.
      const created = await this.#knownJob(agent, input);
      if (created === undefined) throw error;
      return created;
    }
    return await this.get(jobId);
  }

  /** The job that this key has created before. Throws CONFLICT if that was for another request. */
  async #knownJob(agent: AgentRecord, input: CreateInput): Promise<JobView | undefined> {
    const { catalog, actor } = this.#parts;
    const known = await catalog.jobs.byKey(actor.name, input.idempotencyKey);
    if (known === undefined) return undefined;
    if (known.agentId !== agent.agentId || !isSameRequest(known.job.spec, input.spec))
      throw new Failure('CONFLICT', 'the idempotency key was used for another job', {
        remedy: 'Repeat the call with a new idempotency key.',
      });
    return this.#view(known);
  }

  async cancel(jobId: string): Promise<JobView> {
    const { actor, ledgers, clock } = this.#parts;
    const { agentId, job } = await this.#record(jobId);
    if (classOf(job.spec) === 'destructive' && actor.scope === 'operate')
      throw new Failure('FORBIDDEN', 'canceling this needs a token with scope destroy');
    await cancelJob(ledgers, clock, { agentId, jobId }, [auditChange(this.#parts, 'job.cancel', jobId)]);
    return await this.get(jobId);
  }
}
