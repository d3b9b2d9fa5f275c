import { randomUUID } from 'node:crypto';
import type { JobEvent, JobResult, JobSpec } from '@lastgood/protocol';
import { wireErrorOf } from '@lastgood/protocol';
import { aJobDescription } from '@lastgood/testkit';
import type { AgentSocket } from './agent-socket.ts';

type Outcome = { readonly result: JobResult } | { readonly error: Parameters<typeof wireErrorOf>[0] };

/** Reports a whole job that the agent has created: accepted, running, and ended at `endedAt`. Resolves with its id. */
export async function reportJob(agent: AgentSocket, spec: JobSpec, endedAt: number, outcome: Outcome): Promise<string> {
  const jobId = randomUUID();
  const origin = { kind: 'schedule', scheduleId: randomUUID(), due: endedAt - 3 } as const;
  const job = aJobDescription(jobId, { spec, origin, createdAt: endedAt - 2 }, endedAt - 2);
  const end =
    'error' in outcome
      ? { type: 'failed' as const, error: wireErrorOf(outcome.error, 'x'), result: null }
      : { type: 'succeeded' as const, error: null, result: outcome.result as JobEvent['result'] };
  const steps = [
    { type: 'accepted' as const, error: null, result: null },
    { type: 'running' as const, error: null, result: null },
    end,
  ];
  const events = steps.map(
    (step, index): JobEvent => ({
      ...{ id: `${jobId}-${index + 1}`, previousEventId: index === 0 ? null : `${jobId}-${index}`, jobId, attempt: 1 },
      ...{ eventNumber: index + 1, at: endedAt - 2 + index, ...step },
    }),
  );
  const reply = await agent.call('report', agent.session({ events, jobs: [job] }));
  if (reply?.result === undefined) throw new TypeError(`not reported: ${JSON.stringify(reply)}`);
  return jobId;
}
