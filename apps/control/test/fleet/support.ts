import type { AgentCommand, JobDescription, JobEvent, ScheduleEntry, ScheduleSet } from '@lastgood/protocol';
import { type AgentSocket, until } from '../support/agent-socket.ts';
import { type Admin, ControlHarness } from '../support/control-harness.ts';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
/** The harness starts at 2026-01-15T12:00Z; this is when the backup of FLEET is due first. */
export const FIRST_DUE = Date.UTC(2026, 0, 16, 2);

/** A fleet with one policy, as a file. */
export const FLEET = `environments:
  test: { timezone: UTC }
contacts:
  dba: { email: [dba@example.org] }
policies:
  critical:
    select: { engine: postgres }
    objectives: { rpo: 26h, rto: 4h }
    backup: [{ method: logical, cron: "0 2 * * *" }]
    verify: [{ level: 1, cron: "0 5 * * *" }]
    retention: { keepLast: 7 }
    rotate: [{ cron: "0 8 * * *" }]
    alerts: { contacts: [dba] }
`;

/** A control plane whose planner ticks all the time. */
export const startPlanning = (options: Parameters<typeof ControlHarness.start>[0] = {}): Promise<ControlHarness> =>
  ControlHarness.start({ ...options, limits: { plannerMs: 20, ...options.limits } });

export const apply = (admin: Admin, text: string = FLEET, acceptLoss = false) =>
  admin.applyFleet.mutate({ text, file: 'fleet.yaml', acceptLoss });

/** Waits for the next set of schedules that the agent is sent, after `after` of them. */
export async function nextSet(agent: AgentSocket, after = 0): Promise<ScheduleSet> {
  type Command = Extract<AgentCommand, { type: 'sched.set' }>;
  const command = await until('a set of schedules', () =>
    agent.commands.filter((each): each is Command => each.type === 'sched.set').at(after),
  );
  await agent.call('ack', agent.session({ upToSeq: command.seq }));
  return command.set;
}
export function entryNamed({ entries }: ScheduleSet, name: string): ScheduleEntry {
  const entry = entries.find((each) => each.name === name);
  if (entry === undefined) throw new TypeError(`no schedule ${name} in ${entries.map((each) => each.name)}`);
  return entry;
}

/** The clock goes on, and the agent is still there, with nothing left to report. */
export async function advance(bench: ControlHarness, agent: AgentSocket | null, toMs: number): Promise<void> {
  bench.clock.advance(toMs - bench.clock.now());
  if (agent !== null) await beat(bench, agent);
}
export async function beat(bench: ControlHarness, agent: AgentSocket, outboxDepth = 0): Promise<void> {
  const clock = bench.clock.now();
  await agent.call('heartbeat', agent.session({ ackSeq: 0, progress: [], running: [], outboxDepth, clock }));
}

/** What Prometheus reads. */
export async function scrape(bench: ControlHarness): Promise<string> {
  const headers = { authorization: `Bearer ${bench.adminToken}` };
  return await (await fetch(`${bench.url}/metrics`, { headers })).text();
}
/** Waits until the planner has ticked at this instant of the clock. */
export async function untilTicked(bench: ControlHarness): Promise<void> {
  const line = `lastgood_last_tick_timestamp_seconds ${bench.clock.now() / 1000}\n`;
  await until('a tick', async () => ((await scrape(bench)).includes(line) ? true : undefined));
}

/** The job of an occurrence as its agent creates it. */
export function occurrenceJob(entry: ScheduleEntry, jobId: string, due: number): JobDescription {
  const origin = { kind: 'schedule', scheduleId: entry.scheduleId, due } as const;
  return {
    ...{ jobId, spec: entry.spec, origin, createdAt: due },
    ...{ startBy: due + entry.windowMs, deadlineMs: entry.maxRunMs },
  };
}
/** Reports the history of a job that the agent has created. */
export async function report(
  agent: AgentSocket,
  job: JobDescription,
  types: readonly JobEvent['type'][],
  last: Partial<JobEvent> = {},
): Promise<void> {
  const { jobId, createdAt } = job;
  const events = types.map((type, index): JobEvent => {
    const previousEventId = index === 0 ? null : `${jobId}-${index}`;
    const event = { id: `${jobId}-${index + 1}`, previousEventId, jobId, attempt: 1, eventNumber: index + 1 };
    const more = index === types.length - 1 ? last : {};
    return { ...event, type, at: createdAt + index, error: null, result: null, ...more };
  });
  const reply = await agent.call('report', agent.session({ events, jobs: [job] }));
  if (reply?.result === undefined) throw new TypeError(`not reported: ${JSON.stringify(reply)}`);
}

export const occurrencesOf = async (admin: Admin, schedule: string) =>
  (await admin.occurrences.query({ limit: 1000 })).filter((each) => each.schedule === schedule).toReversed();
