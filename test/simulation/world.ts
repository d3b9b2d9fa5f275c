import type { JobSpec } from '@lastgood/protocol';
import { aRestore, Crash, type Environment, type Schedule, schedulesOf } from './environment.ts';
import type { Faults } from './faults.ts';
import { canDeliverDown, canDeliverUp, type Link, newLink } from './network.ts';
import { Oracle, Violation } from './oracle.ts';
import type { Protocol } from './protocol-under-test.ts';
import { Random } from './random.ts';
import { checkSchedules } from './schedules-at-rest.ts';
import { SimAgent } from './sim-agent.ts';
import { SimControl } from './sim-control.ts';

export interface Outcome {
  readonly violation: string | null;
  readonly trace: readonly string[];
  readonly jobs: number;
  readonly effects: number;
  readonly restores: number;
  readonly rollbacks: number;
}
const uuid = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

class World implements Environment {
  readonly protocol: Protocol;
  readonly random: Random;
  readonly oracle = new Oracle();
  readonly schedules: readonly Schedule[];
  readonly #faults: Faults;
  readonly #agents: SimAgent[] = [];
  readonly #control: SimControl;
  #links: Link[] = [];
  #now = 1_000_000;
  #ids = 0;
  jobs = 0;
  restores = 0;
  rollbacks = 0;
  healed = false;

  get unharmed(): boolean {
    return this.restores + this.rollbacks === 0;
  }

  readonly trace: string[] | null;

  constructor(seed: number, faults: Faults, protocol: Protocol, trace: string[] | null) {
    this.protocol = protocol;
    this.random = new Random(seed);
    this.#faults = faults;
    this.trace = trace;
    this.schedules = this.random.chance(faults.schedules) ? schedulesOf(faults.agents) : [];
    for (let index = 0; index < faults.agents; index += 1) this.#agents.push(new SimAgent(index, this));
    this.#control = new SimControl(this, faults.agents);
  }

  now(): number {
    return this.#now;
  }

  newId(prefix: string): string {
    this.#ids += 1;
    return prefix === 'job' ? uuid(this.#ids) : `${prefix}${this.#ids}`;
  }

  connect(agent: number): Link {
    const link = newLink(this.#ids, agent);
    this.#ids += 1;
    if (!this.#control.up) link.controlOpen = false;
    this.#links.push(link);
    return link;
  }

  note(line: () => string): void {
    this.trace?.push(`${this.#now} ${line()}`);
  }

  mayCrash(who: number | 'control'): void {
    if (!this.healed && this.random.chance(this.#faults.innerCrash)) throw new Crash(who);
  }

  /** Runs a piece of work; a crash inside ends the process it was in. */
  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.#kill(error.who);
    }
  }

  #kill(who: number | 'control'): void {
    this.note(() => `crash of ${who}`);
    if (who === 'control') this.#control.die(this.#links);
    else this.#agents[who]?.die();
  }

  #deliverUp(link: Link): void {
    const message = link.up.shift();
    if (message === undefined) return;
    this.note(() => `${link.id}: agent ${link.agent} -> control ${JSON.stringify(message)}`);
    this.#try(() => this.#control.receive(link, message));
  }

  #deliverDown(link: Link): void {
    const message = link.down.shift();
    if (message === undefined) return;
    this.note(() => `${link.id}: control -> agent ${link.agent} ${JSON.stringify(message)}`);
    this.#try(() => this.#agents[link.agent]?.receive(link, message));
  }

  #newJob(): void {
    const schedule = this.random.pick(this.schedules);
    if (schedule !== undefined && this.random.chance(0.1)) {
      this.#try(() => this.#control.reschedule());
      return;
    }
    if (schedule !== undefined && this.random.chance(0.15)) {
      this.#control.runDue(schedule);
      return;
    }
    const target = this.random.chance(0.5) ? 'shop' : 'crm';
    const backupId = uuid(1);
    const specs: JobSpec[] = [
      { command: 'backup', target, method: null, contents: null, options: { digests: true } },
      { command: 'verify', target, backupId, level: 4 },
      { command: 'restore', target, request: aRestore(backupId), planHash: '0'.repeat(64) },
      { command: 'rotate', target, retention: { minimum: 1 }, holds: [], dryRun: false },
    ];
    const refused: JobSpec = { command: 'undo', target, restoreJobId: uuid(1) };
    const spec = this.random.chance(0.05) ? refused : (this.random.pick(specs) ?? refused);
    this.jobs += 1;
    this.#control.create(this.random.below(this.#agents.length), spec, 60_000 + this.random.below(900_000));
  }

  #controlActs(): void {
    if (!this.#control.up) {
      if (this.random.chance(0.3)) this.#control.boot();
      return;
    }
    const what = this.random.weighted({ push: 10, create: 3, cancel: 0.7, expire: 1, copy: 0.3 });
    if (what === 'push') this.#try(() => this.#control.push());
    else if (what === 'create') this.#newJob();
    else if (what === 'cancel') this.#try(() => this.#control.cancelOne());
    else if (what === 'expire') this.#try(() => this.#control.expire());
    else this.#control.copies.push(new Map(this.#control.disk));
  }

  #agentActs(agent: SimAgent): void {
    const process = agent.process;
    if (process === null) {
      if (this.random.chance(0.3)) this.#try(() => agent.boot());
      return;
    }
    const { link } = process;
    if (link === null) {
      if (this.random.chance(0.5)) this.#try(() => agent.dial());
    } else if (this.random.chance(link.broken || !link.controlOpen ? 0.4 : process.live ? 0 : 0.03)) {
      agent.hangUp();
    }
    this.#agentWorks(agent);
  }

  #agentWorks(agent: SimAgent): void {
    const what = this.random.weighted({
      report: 5,
      heartbeat: 1,
      work: 5,
      finish: 2,
      fire: this.schedules.length > 0 ? 1.5 : 0,
      snapshot: 0.3,
      forget: this.#faults.forget,
    });
    if (what === 'snapshot') agent.snapshots.push(agent.disk);
    else if (what === 'forget') this.#try(() => agent.forget(this.#faults.forgetAfterMs));
    else this.#try(() => agent[what]());
  }

  #chaos(agent: SimAgent): void {
    const { crash, cut, loss, hold, redial, clock, rollback, restore, calamity } = this.#faults;
    const open = this.#links.filter((link) => !link.broken && (link.agentOpen || link.controlOpen));
    const link = this.random.pick(open);
    if (this.random.chance(crash)) this.#kill(this.random.chance(0.4) ? 'control' : agent.index);
    if (this.random.chance(cut) && link !== undefined) link.broken = true;
    if (this.random.chance(loss) && link !== undefined) {
      const queue = this.random.chance(0.5) ? link.up : link.down;
      queue.splice(this.random.below(queue.length + 1), 1);
    }
    if (this.random.chance(hold)) this.#hold(open);
    if (this.random.chance(redial)) this.#try(() => agent.dial());
    if (this.random.chance(clock)) agent.skewMs = (this.random.next() - 0.5) * 300_000;
    if (this.random.chance(clock)) this.#control.skewMs = (this.random.next() - 0.5) * 300_000;
    if (this.random.chance(clock)) this.#now += 100_000;
    if (this.random.chance(rollback)) this.#rollBack(agent);
    if (this.random.chance(restore)) this.#restore();
    if (this.random.chance(calamity)) this.#try(() => this.#calamity(agent));
  }

  /** Holds a connection back, before all one that its agent has given up with something still to be heard. */
  #hold(open: readonly Link[]): void {
    const orphans = open.filter((link) => !link.agentOpen && link.controlOpen && link.up.length > 0);
    const link = this.random.pick(orphans.length > 0 ? orphans : open);
    if (link !== undefined) link.heldUntil = this.#now + this.random.below(60_000);
  }

  #calamity(agent: SimAgent): void {
    if (this.random.chance(0.5)) {
      this.#restore();
      if (!this.#control.up) this.#control.boot();
      if (agent.process === null) agent.boot();
      agent.dial();
    } else {
      agent.work();
      agent.finish();
      agent.report();
    }
    const link = agent.process?.link;
    if (link != null) link.heldUntil = this.#now + this.random.below(40_000);
    this.#rollBack(agent);
    agent.boot();
    agent.dial();
  }

  #rollBack(agent: SimAgent): void {
    const recent = this.random.chance(0.7) ? agent.snapshots.slice(-2) : agent.snapshots;
    const snapshot = this.random.pick(recent);
    if (snapshot === undefined) return;
    this.rollbacks += 1;
    this.note(
      () =>
        `agent ${agent.index}: HOST SET BACK to ${JSON.stringify([...snapshot.jobs.keys()])} seq ${snapshot.lastSeq}`,
    );
    agent.rollBack(snapshot);
  }

  #restore(): void {
    const recent = this.random.chance(0.7) ? this.#control.copies.slice(-2) : this.#control.copies;
    const copy = this.random.pick(recent);
    if (copy === undefined) return;
    this.restores += 1;
    this.note(() => 'control: CATALOG RESTORED from a copy');
    this.#control.die(this.#links);
    this.#control.restore(copy);
    for (const { index, disk, life } of this.#agents) {
      this.oracle.catalogRestored(index, this.#control.ledger(index), disk, life);
    }
  }

  #step(): void {
    this.#now += this.random.below(1_500);
    const agent = this.random.pick(this.#agents);
    if (agent === undefined) return;
    this.#chaos(agent);
    const what = this.random.weighted({ up: 6, down: 6, agent: 8, control: 4, gone: 1 });
    if (what === 'agent') this.#agentActs(agent);
    else if (what === 'control') this.#controlActs();
    else if (what === 'up') {
      const link = this.random.pick(this.#links.filter((one) => canDeliverUp(one, this.#now)));
      if (link !== undefined) this.#deliverUp(link);
    } else if (what === 'down') {
      const link = this.random.pick(this.#links.filter((one) => canDeliverDown(one, this.#now)));
      if (link !== undefined) this.#deliverDown(link);
    } else this.#noticeGone();
  }

  /** The control plane notices connections whose other end is gone; finished ones are forgotten. */
  #noticeGone(): void {
    for (const link of this.#links) {
      if (link.controlOpen && (link.broken || (!link.agentOpen && link.up.length === 0))) this.#control.close(link);
    }
    this.#links = this.#links.filter((link) => link.controlOpen || link.agentOpen);
  }

  #deliverAll(): void {
    for (let busy = true; busy; ) {
      busy = false;
      for (const link of this.#links) {
        if (canDeliverUp(link, this.#now)) this.#deliverUp(link);
        if (canDeliverDown(link, this.#now)) this.#deliverDown(link);
        busy ||= canDeliverUp(link, this.#now) || canDeliverDown(link, this.#now);
      }
    }
  }

  /** Nothing fails any more: all connections are made anew and everything has to come to rest. */
  #heal(): void {
    this.note(() => 'HEALED');
    this.healed = true;
    if (!this.#control.up) this.#control.boot();
    for (const link of this.#links) link.broken = true;
    for (const agent of this.#agents) {
      agent.hangUp();
      if (agent.process === null) agent.boot();
    }
    this.#noticeGone();
    for (let round = 0; round < 80; round += 1) {
      this.#now += 5_000;
      for (const agent of this.#agents) {
        if (agent.process?.link?.controlOpen === false) agent.hangUp();
        if (agent.process?.link === null) agent.dial();
      }
      this.#deliverAll();
      this.#control.pushAll();
      this.#deliverAll();
      for (const agent of this.#agents) {
        agent.heartbeat();
        for (let k = 0; k < 4; k += 1) agent.work();
        agent.finish();
        agent.report();
      }
      this.#deliverAll();
      this.#control.expire();
      this.#noticeGone();
      if (this.#agents.every((agent) => agent.quiet && this.#control.quiet(agent.index))) break;
    }
    for (const { index, disk, life } of this.#agents) {
      this.oracle.atRest(index, this.#control.ledger(index), disk, life);
      checkSchedules(index, this.#control.ledger(index), disk, this.schedules);
      const { outbox } = this.#control.ledger(index);
      if (outbox.length > 0) throw new Violation(`agent ${index}: ${outbox.length} commands were never received`);
      if (disk.outbox.length > 0)
        throw new Violation(`agent ${index}: ${disk.outbox.length} events were never confirmed`);
      const open = [...disk.jobs].find(([, job]) => job.state !== 'finished');
      if (open !== undefined) throw new Violation(`agent ${index}: ${open[0]} stays open in the journal`);
    }
  }

  run(): void {
    for (let step = 0; step < this.#faults.steps; step += 1) this.#step();
    this.#heal();
  }
}

/** Runs one seed to its end or to the first violation. */
export function runSeed(seed: number, faults: Faults, protocol: Protocol, withTrace = false): Outcome {
  const trace: string[] | null = withTrace ? [] : null;
  const world = new World(seed, faults, protocol, trace);
  let violation: string | null = null;
  try {
    world.run();
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error.message;
  }
  const { jobs, restores, rollbacks } = world;
  return { violation, trace: trace ?? [], jobs, effects: world.oracle.effects, restores, rollbacks };
}

/** Runs `count` seeds from `first` and gives the first that fails, or null. */
export function findViolation(
  first: number,
  count: number,
  faults: Faults,
  protocol: Protocol,
): { seed: number; tried: number; violation: string } | null {
  for (let seed = first; seed < first + count; seed += 1) {
    const { violation } = runSeed(seed, faults, protocol);
    if (violation !== null) return { seed, tried: seed - first + 1, violation };
  }
  return null;
}
