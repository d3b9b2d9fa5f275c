import {
  type AgentJob,
  type AgentLedger,
  type ControlJob,
  type ControlLedger,
  classOf,
  type HelloAnswer,
  type JobSpec,
  jobKey,
  MAX_ATTEMPTS,
  TERMINAL_STATES,
} from '@lastgood/protocol';

/** A rule of the delivery was broken. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

interface Effect {
  readonly attempt: number;
  readonly agent: number;
  readonly target: string;
  /** Counts how often the agent's host was set back before. */
  readonly life: number;
  alive: boolean;
  succeeded: boolean;
}
interface Truth {
  readonly agent: number;
  readonly destructive: boolean;
  readonly effects: Effect[];
  createdByControl: boolean;
  /** How often the host had been set back when the job was first created. */
  readonly firstLife: number;
  /** The latest time at which its agent created it, by the agent's clock. */
  bornAt: number | null;
  /** The life in which only the agent knows the job, because the catalog never knew it or has lost it; null: nobody knows it. */
  onlyAgent: { life: number | null } | null;
}

export interface StartOfEffect {
  readonly agent: number;
  readonly life: number;
  readonly job: AgentJob;
  readonly hostClock: number;
  /** The nonce whose grant is live on the agent. */
  readonly nonce: string | null;
  readonly healed: boolean;
}

/** Knows what really happened and says when a ledger or an effect contradicts it. */
export class Oracle {
  readonly #jobs = new Map<string, Truth>();
  readonly #granted = new Set<string>();
  readonly #control = new Map<number, ControlLedger>();
  readonly #applied = new Map<string, Set<string>>();
  readonly #lives = new Map<number, number>();
  effects = 0;

  /** The control plane has created a job; perhaps one that its agent has created as well. */
  created(jobId: string, agent: number, spec: JobSpec): void {
    const known = this.#jobs.get(jobId);
    if (known !== undefined) {
      known.createdByControl = true;
      return;
    }
    const destructive = classOf(spec) === 'destructive';
    const unborn = { firstLife: this.#lives.get(agent) ?? 0, bornAt: null, onlyAgent: null };
    this.#jobs.set(jobId, { agent, destructive, effects: [], createdByControl: true, ...unborn });
  }

  /** An agent has journaled a job of its own; once more if its host was set back to before it. */
  born({ jobId, spec, createdAt }: AgentJob, agent: number, life: number): void {
    const known = this.#control.get(agent)?.jobs.has(jobId) === true;
    const truth = this.#jobs.get(jobId);
    if (truth === undefined) {
      const destructive = classOf(spec) === 'destructive';
      const born = { firstLife: life, bornAt: createdAt, onlyAgent: { life } };
      this.#jobs.set(jobId, { agent, destructive, effects: [], createdByControl: false, ...born });
      return;
    }
    truth.bornAt = Math.max(truth.bornAt ?? createdAt, createdAt);
    if (!known) truth.onlyAgent = { life };
  }

  /** A safe job that its agent has created may run again after the host was set back: nobody there knows that it ran. */
  #mayRepeat(truth: Truth, life: number): boolean {
    return !truth.destructive && truth.bornAt !== null && life > truth.firstLife;
  }

  hostSetBack(agent: number, life: number): void {
    this.#lives.set(agent, life);
  }

  granted(agent: number, { jobId, attempt }: { jobId: string; attempt: number }, nonce: string): void {
    const key = jobKey(jobId, attempt);
    if (this.#control.get(agent)?.jobs.get(jobId)?.cancelRequested === true) {
      throw new Violation(`${key}: may begin although its cancel was requested`);
    }
    if (this.#control.get(agent)?.jobs.get(jobId)?.closedAt !== undefined)
      throw new Violation(`${key}: may begin although it was closed`);
    this.#granted.add(`${key}/${nonce}`);
  }

  answered(agent: number, answer: HelloAnswer, unharmed: boolean): void {
    if (unharmed && (answer.reset !== null || answer.merged !== null)) {
      throw new Violation(`agent ${agent}: reported as reset, but it was not`);
    }
  }

  accused(agent: number, unharmed: boolean): void {
    if (unharmed) throw new Violation(`agent ${agent}: reported as having another history, but it has not`);
  }

  #truth(jobId: string): Truth {
    const truth = this.#jobs.get(jobId);
    if (truth === undefined) throw new Violation(`job ${jobId} was never created`);
    return truth;
  }

  effectBegins(start: StartOfEffect): void {
    const { agent, life, job, hostClock, nonce, healed } = start;
    const key = jobKey(job.jobId, job.attempt);
    const truth = this.#truth(job.jobId);
    for (const before of truth.effects) {
      if (truth.destructive) throw new Violation(`${key}: a destructive job takes effect a second time`);
      if (before.attempt === job.attempt && before.life === life) throw new Violation(`${key}: takes effect twice`);
      if (before.alive) throw new Violation(`${key}: begins while attempt ${before.attempt} still runs`);
    }
    for (const other of this.#jobs.values()) {
      const clash = other.effects.some((one) => one.alive && one.agent === agent && one.target === job.spec.target);
      if (clash) throw new Violation(`${key}: two writers on ${job.spec.target}`);
    }
    if (truth.destructive && (nonce === null || !this.#granted.has(`${key}/${nonce}`))) {
      throw new Violation(`${key}: a destructive job begins without a valid grant`);
    }
    if (hostClock > job.startBy) throw new Violation(`${key}: begins after its start-by time`);
    const repeats = job.local && this.#mayRepeat(truth, life);
    const known = repeats ? undefined : this.#control.get(agent)?.jobs.get(job.jobId);
    if (known !== undefined && TERMINAL_STATES.has(known.state)) {
      throw new Violation(`${key}: begins after it was recorded as ${known.state}`);
    }
    if (known?.closedAt !== undefined) throw new Violation(`${key}: begins although it was closed`);
    if (known !== undefined && known.attempt > job.attempt) {
      throw new Violation(`${key}: begins although attempt ${known.attempt} exists`);
    }
    if (healed && known?.cancelRequested === true)
      throw new Violation(`${key}: begins although its cancel was delivered`);
    const target = job.spec.target;
    truth.effects.push({ attempt: job.attempt, agent, target, life, alive: true, succeeded: false });
    this.effects += 1;
  }

  effectEnds(jobId: string, succeeded: boolean): void {
    for (const effect of this.#truth(jobId).effects) {
      if (effect.alive) effect.succeeded = succeeded;
      effect.alive = false;
    }
  }

  /** One commit of the control plane. */
  controlCommits(agent: number, after: ControlLedger): void {
    const before = this.#control.get(agent);
    this.#control.set(agent, after);
    if (before?.jobs === after.jobs) return;
    for (const jobId of after.jobs.keys()) this.#truth(jobId).onlyAgent = null;
    if (before === undefined) return;
    for (const [jobId, was] of before.jobs) {
      const is = after.jobs.get(jobId);
      if (is === undefined) throw new Violation(`${jobId}: the control plane lost the job`);
      if (is === was) continue;
      if (TERMINAL_STATES.has(was.state) && is.state !== was.state) {
        throw new Violation(`${jobId}: ${was.state} became ${is.state}`);
      }
      if (is.attempt < was.attempt) throw new Violation(`${jobId}: attempt ${was.attempt} became ${is.attempt}`);
      this.#checkHistory(was, is);
    }
  }

  #checkHistory(was: ControlJob, is: ControlJob): void {
    if (is.attempt === was.attempt && is.lastEventNumber < was.lastEventNumber)
      throw new Violation(`${is.jobId}: its history became shorter`);
    if (is.state === 'succeeded' && was.state !== 'succeeded') {
      const real = this.#truth(is.jobId).effects.some((one) => one.succeeded && one.attempt === is.attempt);
      if (!real) throw new Violation(`${is.jobId}: recorded as succeeded, but it did not`);
    }
    if (is.lastEventId === null || is.lastEventId === was.lastEventId) return;
    const key = jobKey(is.jobId, is.attempt);
    const applied = this.#applied.get(key) ?? new Set();
    if (applied.has(is.lastEventId)) throw new Violation(`${key}: event ${is.lastEventId} was applied twice`);
    this.#applied.set(key, applied.add(is.lastEventId));
  }

  /** The catalog was replaced by a copy: what it has forgotten is not its fault, unless the agent still knows it. */
  catalogRestored(agent: number, copy: ControlLedger, journal: AgentLedger, life: number): void {
    this.#control.set(agent, copy);
    for (const [jobId, truth] of this.#jobs) {
      if (truth.agent !== agent) continue;
      const inJournal = [...journal.jobs.values()].some((job) => job.jobId === jobId);
      if (copy.jobs.has(jobId)) continue;
      truth.onlyAgent = { life: inJournal ? life : null };
    }
    for (const key of this.#applied.keys()) {
      const jobId = key.slice(0, key.indexOf('#'));
      if (this.#truth(jobId).agent === agent) this.#applied.delete(key);
    }
  }

  /** Everything is healed and quiet: every job has one end and both sides tell it alike. */
  atRest(agent: number, control: ControlLedger, journal: AgentLedger, life: number): void {
    for (const [jobId, truth] of this.#jobs) {
      if (truth.agent !== agent) continue;
      const job = control.jobs.get(jobId);
      if (job === undefined) {
        if (truth.onlyAgent === null || truth.onlyAgent.life === life) throw new Violation(`${jobId}: the job is lost`);
        continue;
      }
      this.#checkEnd(job, truth, journal, life);
    }
    for (const job of journal.jobs.values()) {
      if (!control.jobs.has(job.jobId)) throw new Violation(`${job.jobId}: only the agent knows it`);
    }
  }

  #checkEnd(job: ControlJob, truth: Truth, journal: AgentLedger, life: number): void {
    const key = jobKey(job.jobId, job.attempt);
    if (!TERMINAL_STATES.has(job.state)) throw new Violation(`${key}: is still ${job.state}`);
    if (truth.effects.some((one) => one.alive)) throw new Violation(`${key}: still runs`);
    const own = journal.jobs.get(key);
    if (own !== undefined && (own.lastEventId !== job.lastEventId || own.eventNumber !== job.lastEventNumber)) {
      throw new Violation(
        `${key}: the agent ends with ${own.lastType} (${own.eventNumber}), the control plane with ${job.state}`,
      );
    }
    this.#checkSuccess(key, job, own);
    this.#checkTimes(key, job, truth);
    const here = truth.effects.filter((one) => one.life === life && one.attempt === job.attempt);
    const unbegun =
      job.lastEventNumber === 0 || (job.state === 'canceled' && job.lastEventNumber <= 2) || job.state === 'rejected';
    if (unbegun && here.length > 0 && !this.#mayRepeat(truth, life))
      throw new Violation(`${key}: ${job.state} before its start, but it took effect`);
    if (truth.effects.filter((one) => one.life === life).length > MAX_ATTEMPTS)
      throw new Violation(`${key}: started too often`);
  }

  /** A job that only its agent created has the agent's times, not those of its adoption. */
  #checkTimes(key: string, job: ControlJob, truth: Truth): void {
    if (truth.createdByControl || truth.bornAt === null || job.createdAt <= truth.bornAt) return;
    throw new Violation(`${key}: was created at ${truth.bornAt}, is recorded as created at ${job.createdAt}`);
  }

  /** A success that the agent has recorded is recorded by the control plane as a success, with the same result. */
  #checkSuccess(key: string, job: ControlJob, own: AgentJob | undefined): void {
    if (own?.lastType !== 'succeeded') return;
    if (job.state !== 'succeeded') throw new Violation(`${key}: succeeded, recorded as ${job.state}`);
    if (JSON.stringify(job.result) !== JSON.stringify(own.result))
      throw new Violation(`${key}: the recorded result differs from the result of the agent`);
  }
}
