import { setImmediate } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type Clock, Failure } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import {
  type AdminApi,
  type BackupView,
  classOf,
  type HostView,
  type JobSpec,
  type JobView,
  jobResultSchema,
  PROTOCOL_VERSION,
  type TargetStatus,
  type TargetView,
} from '@lastgood/protocol';
import type {
  AgentRecord,
  BackupRecord,
  Catalog,
  Change,
  JobRecord,
  Scoped,
  TargetRecord,
} from '../catalog/catalog.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { rotationThatMayRemove } from '../fleet/holds.ts';
import { isOverdue } from '../fleet/overdue.ts';
import { VERSION } from '../version.ts';
import { databaseStatuses } from './database-status.ts';
import { effectiveStateOf } from './effective-state.ts';
import { bareHostStatus, targetStatus } from './target-status.ts';
import { type Actor, newToken, tokenView } from './tokens.ts';

const HOUR_MS = 3_600_000;
type Input<K extends keyof AdminApi> = Parameters<AdminApi[K]>[0];

/** The same key with the same request is the same job; holds are added here, so they do not count. */
function sameRequest(one: JobSpec, other: JobSpec): boolean {
  const bare = (spec: JobSpec): JobSpec => (spec.command === 'rotate' ? { ...spec, holds: [] } : spec);
  return isDeepStrictEqual(bare(one), bare(other));
}

/** What one caller may do; every change leaves an audit record in the same commit. */
export class AdminService implements AdminApi {
  readonly #catalog: Catalog;
  readonly #fleet: Fleet;
  readonly #clock: Clock;
  readonly #actor: Actor;

  constructor(catalog: Catalog, fleet: Fleet, clock: Clock, actor: Actor) {
    this.#catalog = catalog;
    this.#fleet = fleet;
    this.#clock = clock;
    this.#actor = actor;
  }

  #audit(action: string, subject: string, detail = ''): Change {
    return { type: 'audit', entry: { at: this.#clock.now(), actor: this.#actor.name, action, subject, detail } };
  }

  async whoAmI(): ReturnType<AdminApi['whoAmI']> {
    return { name: this.#actor.name, scope: this.#actor.scope, version: VERSION, protocol: PROTOCOL_VERSION };
  }

  async hosts(): Promise<HostView[]> {
    const targets = Map.groupBy(await this.#catalog.targets({}), (target) => target.agentId);
    return this.#fleet.members().map(({ agent, session }) => ({
      agentId: agent.agentId,
      environment: agent.environment,
      host: agent.host,
      labels: agent.labels,
      state: this.#hostState(agent),
      since: agent.lastSeenAt ?? agent.enrolledAt,
      agentVersion: agent.agentVersion,
      clockSkewMs: session?.clockSkewMs ?? null,
      outboxDepth: session?.outboxDepth ?? 0,
      targets: (targets.get(agent.agentId) ?? []).map((target) => target.inventory.name),
    }));
  }

  #hostState(agent: AgentRecord): HostView['state'] {
    return this.#online(agent.agentId) ? 'online' : agent.lastSeenAt === null ? 'never' : 'offline';
  }
  #online(agentId: string): boolean {
    return this.#fleet.session(agentId)?.alive ?? false;
  }

  /** The targets that a selector names: `target`, `host/target` or `environment/host/target`. */
  async #select(selector: string | undefined): Promise<{ agent: AgentRecord; record: TargetRecord }[]> {
    const wanted = selector?.split('/') ?? [];
    const [target, host, environment] = wanted.toReversed();
    // A whole name is looked up; only the others need a look at every target of the name.
    const agentId =
      host === undefined || environment === undefined ? undefined : this.#fleet.agentNamed(environment, host)?.agentId;
    const unknown = wanted.length > 3 || (environment !== undefined && agentId === undefined);
    const records = unknown
      ? []
      : await this.#catalog.targets({
          ...(agentId === undefined ? {} : { agentId }),
          ...(target === undefined ? {} : { target }),
        });
    const matching = records.flatMap((record) => {
      const agent = this.#fleet.agent(record.agentId);
      return agent === undefined || (host !== undefined && agent.host !== host) ? [] : [{ agent, record }];
    });
    if (selector === undefined) return matching;
    if (matching.length === 0) throw new Failure('NOT_FOUND', `no target is named "${selector}"`);
    return matching;
  }

  async #one(selector: string): Promise<{ agent: AgentRecord; record: TargetRecord }> {
    const [first, ...others] = await this.#select(selector);
    if (first === undefined || others.length > 0) {
      const names = [first, ...others].map(
        (entry) => `${entry?.agent.environment}/${entry?.agent.host}/${entry?.record.inventory.name}`,
      );
      throw new Failure('BAD_INPUT', `"${selector}" is ambiguous: ${names.slice(0, 5).join(', ')}`);
    }
    return first;
  }

  async #scoped(selector: string | undefined): Promise<Scoped> {
    if (selector === undefined) return {};
    const { agent, record } = await this.#one(selector);
    return { agentId: agent.agentId, target: record.inventory.name };
  }

  async targets({ target }: Input<'targets'>): Promise<TargetView[]> {
    const selected = await this.#select(target);
    const [only] = selected.length === 1 ? selected : [];
    const scope = only === undefined ? {} : { agentId: only.agent.agentId, target: only.record.inventory.name };
    const newest = new Map(
      (await this.#catalog.newestGood(scope)).map((found) => [`${found.agentId}/${found.target}`, found]),
    );
    return selected.map(({ agent, record }) => {
      const found = newest.get(`${agent.agentId}/${record.inventory.name}`);
      return {
        ...record.inventory,
        environment: agent.environment,
        host: agent.host,
        online: this.#online(agent.agentId),
        lastGood: found?.lastGood ?? null,
        lastProven: found?.lastProven ?? null,
      };
    });
  }

  async status({ target }: Input<'status'>): Promise<TargetStatus[]> {
    const selected = await this.#select(target);
    const answers: TargetStatus[] = [];
    for (const { agent, record } of selected) {
      const { agentId } = agent;
      const coverage = await this.#catalog.coverage(agentId, record.inventory.name);
      const databases = databaseStatuses(record.inventory, coverage, this.#fleet.ledger(agentId).jobs.values());
      answers.push(targetStatus(agent, this.#hostState(agent), record.inventory, databases));
      // A fleet has many targets, and agents wait for their turn.
      await setImmediate();
    }
    if (target !== undefined) return answers;
    const told = new Set(selected.map(({ agent }) => agent.agentId));
    const silent = this.#fleet.members().filter(({ agent }) => !told.has(agent.agentId));
    return [...answers, ...silent.map(({ agent }) => bareHostStatus(agent, this.#hostState(agent)))];
  }

  #backupView({ agentId, summary, held }: BackupRecord): BackupView {
    const agent = this.#fleet.agent(agentId);
    return { ...summary, environment: agent?.environment ?? 'unknown', host: agent?.host ?? 'unknown', held };
  }

  async backups({ target, limit }: Input<'backups'>): Promise<BackupView[]> {
    return (await this.#catalog.backups(await this.#scoped(target), limit)).map((record) => this.#backupView(record));
  }

  #jobView({ agentId, createdAt, createdBy, job: stored }: JobRecord): JobView {
    const agent = this.#fleet.agent(agentId);
    // Memory is ahead of the row by leases alone.
    const job = agent === undefined ? stored : (this.#fleet.ledger(agentId).jobs.get(stored.jobId) ?? stored);
    const result = jobResultSchema.safeParse(job.result);
    const end = effectiveStateOf(job);
    const online = this.#online(agentId);
    return {
      jobId: job.jobId,
      environment: agent?.environment ?? 'unknown',
      host: agent?.host ?? 'unknown',
      target: job.spec.target,
      command: job.spec.command,
      spec: job.spec,
      state: end.state,
      attempt: job.attempt,
      createdAt,
      startedAt: job.startedAt,
      endedAt: end.endedAt,
      createdBy,
      startBy: job.startBy,
      cancelRequested: job.cancelRequested,
      deadlineMs: job.deadlineMs,
      hostOnline: online,
      hostSeenAt: agent?.lastSeenAt ?? null,
      overdue: !online && end.endedAt === null && isOverdue(job, this.#clock.now(), this.#fleet.openedAt),
      progress: end.endedAt === null ? (this.#fleet.session(agentId)?.progressOf(job.jobId) ?? null) : null,
      error: end.error,
      result: result.success ? result.data : null,
    };
  }

  async jobs({ target, limit }: Input<'jobs'>): Promise<JobView[]> {
    return (await this.#catalog.jobs(await this.#scoped(target), limit)).map((record) => this.#jobView(record));
  }

  async job(jobId: string): Promise<JobView> {
    return this.#jobView(await this.#jobRecord(jobId));
  }

  async #jobRecord(jobId: string): Promise<JobRecord> {
    const record = await this.#catalog.job(jobId);
    if (record === undefined) throw new Failure('NOT_FOUND', `there is no job ${jobId}`);
    return record;
  }

  async #checkBackup(agentId: string, spec: JobSpec): Promise<void> {
    if (!('backupId' in spec)) return;
    const backup = await this.#catalog.backup(spec.backupId);
    if (backup === undefined || backup.agentId !== agentId || backup.summary.target !== spec.target)
      throw new Failure('NOT_FOUND', `target ${spec.target} has no backup ${spec.backupId}`);
  }

  /** A rotation always knows every hold of the catalog, whatever the caller sent. */
  async #withHolds(agentId: string, spec: JobSpec): Promise<JobSpec> {
    if (spec.command !== 'rotate') return spec;
    const held = await this.#catalog.holds({ agentId, target: spec.target });
    return { ...spec, holds: [...new Set([...spec.holds, ...held])].sort() };
  }

  async createJob(input: Input<'createJob'>): Promise<JobView> {
    if (classOf(input.spec) === 'destructive' && this.#actor.scope !== 'destroy' && this.#actor.scope !== 'admin')
      throw new Failure('FORBIDDEN', `${input.spec.command} needs a token with scope destroy`);
    const { agent, record } = await this.#one(input.target);
    if (input.spec.target !== record.inventory.name)
      throw new Failure(
        'BAD_INPUT',
        `the job names target "${input.spec.target}", the selector "${record.inventory.name}"`,
      );
    const known = await this.#knownJob(agent, input);
    if (known !== undefined) return known;
    await this.#checkBackup(agent.agentId, input.spec);
    const spec = await this.#withHolds(agent.agentId, input.spec);
    const now = this.#clock.now();
    const jobId = uuidv7(now);
    const job = { jobId, spec, startBy: now + input.startByMs, deadlineMs: input.deadlineMs };
    const subject = `${agent.environment}/${agent.host}/${spec.target}`;
    const origin = { createdBy: this.#actor.name, idempotencyKey: input.idempotencyKey, now };
    try {
      await this.#fleet.createJob(agent.agentId, job, origin, [this.#audit(`job.${spec.command}`, subject, jobId)]);
    } catch (error) {
      // The same call may have come twice at once.
      const made = await this.#knownJob(agent, input);
      if (made === undefined) throw error;
      return made;
    }
    return await this.job(jobId);
  }

  /** The job that this key has made before; CONFLICT when that was for another request. */
  async #knownJob(agent: AgentRecord, input: Input<'createJob'>): Promise<JobView | undefined> {
    const known = await this.#catalog.jobByKey(this.#actor.name, input.idempotencyKey);
    if (known === undefined) return undefined;
    if (known.agentId !== agent.agentId || !sameRequest(known.job.spec, input.spec))
      throw new Failure('CONFLICT', 'the idempotency key was used for another job');
    return this.#jobView(known);
  }

  async cancelJob(jobId: string): Promise<JobView> {
    const record = await this.#jobRecord(jobId);
    if (classOf(record.job.spec) === 'destructive' && this.#actor.scope === 'operate')
      throw new Failure('FORBIDDEN', 'canceling this needs a token with scope destroy');
    await this.#fleet.cancelJob(record.agentId, jobId, [this.#audit('job.cancel', jobId)]);
    return await this.job(jobId);
  }

  async hold({ backupId, held, reason }: Input<'hold'>): Promise<BackupView> {
    const known = await this.#catalog.backup(backupId);
    if (known === undefined) throw new Failure('NOT_FOUND', `there is no backup ${backupId}`);
    const change: Change = { type: 'hold', backupId, held, reason, by: this.#actor.name, at: this.#clock.now() };
    const changes = [change, this.#audit(held ? 'backup.hold' : 'backup.release', backupId, reason)];
    // A step of its agent, as the grant of a rotation is: whichever comes first, the other one knows of it.
    return await this.#fleet.step(known.agentId, async (ledger) => {
      const backup = await this.#catalog.backup(backupId);
      if (backup === undefined) throw new Failure('NOT_FOUND', `there is no backup ${backupId}`);
      const rotation = held ? rotationThatMayRemove(ledger, backup.summary.target, backupId) : undefined;
      if (rotation !== undefined)
        throw new Failure('CONFLICT', `rotation ${rotation.jobId} may be removing this backup at this moment`, {
          remedy: 'Wait for the rotation to end (`lastgood jobs`), then hold what it has left.',
        });
      return { ledger, value: this.#backupView({ ...backup, held }), changes };
    });
  }

  async tokens(): ReturnType<AdminApi['tokens']> {
    return (await this.#catalog.tokens()).map(tokenView);
  }

  async createToken({ name, scope, expiresInHours }: Input<'createToken'>): ReturnType<AdminApi['createToken']> {
    const now = this.#clock.now();
    const expiresAt = expiresInHours === null ? null : now + expiresInHours * HOUR_MS;
    const { token, record } = newToken(
      { name, kind: 'api', scope, environment: null, host: null, expiresAt, usesLeft: null },
      now,
    );
    await this.#catalog.commit([
      { type: 'token', token: record },
      this.#audit('token.create', name, `${record.id} ${scope}`),
    ]);
    return { token, view: tokenView(record) };
  }

  async createEnrollToken({
    environment,
    host,
    expiresInHours,
  }: Input<'createEnrollToken'>): ReturnType<AdminApi['createEnrollToken']> {
    const now = this.#clock.now();
    const name = `${environment}/${host}`;
    const { token, record } = newToken(
      { name, kind: 'enroll', scope: null, environment, host, expiresAt: now + expiresInHours * HOUR_MS, usesLeft: 1 },
      now,
    );
    await this.#catalog.commit([{ type: 'token', token: record }, this.#audit('token.enroll', name, record.id)]);
    return { token, view: tokenView(record) };
  }

  async revokeToken(id: string): ReturnType<AdminApi['revokeToken']> {
    const known = (await this.#catalog.tokens()).find((token) => token.id === id);
    if (known === undefined)
      throw new Failure('NOT_FOUND', `there is no token ${id}`, { remedy: 'List the tokens with `lastgood tokens`.' });
    const at = this.#clock.now();
    await this.#catalog.commit([{ type: 'revokeToken', id, at }, this.#audit('token.revoke', known.name, id)]);
    return tokenView({ ...known, revokedAt: known.revokedAt ?? at });
  }

  async audit({ limit }: Input<'audit'>): ReturnType<AdminApi['audit']> {
    return await this.#catalog.audit(limit);
  }
}
