import { randomUUID } from 'node:crypto';
import type { JobSpec } from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { AgentSocket, until } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

const backup = (target: string): JobSpec => ({ command: 'backup', target, method: null, contents: null, options: {} });

test('db-D7: a job that has not started names the jobs of its host that it waits for', async () => {
  await using control = await ControlHarness.start();
  const agent = await AgentSocket.connect(control, await control.enroll());
  await agent.announce('m1', 'm2', 'main');
  const order = async (spec: JobSpec): Promise<string> => {
    control.clock.advance(1);
    return (await control.admin().createJob.mutate({ target: spec.target, spec, idempotencyKey: randomUUID() })).jobId;
  };
  const start = async (jobId: string): Promise<void> => {
    await until('the command', () => agent.commands.find((command) => 'jobId' in command && command.jobId === jobId));
    const events = ['accepted', 'running'].map((type, index) => ({
      ...{ id: `${jobId}-${index}`, previousEventId: index === 0 ? null : `${jobId}-0`, jobId, attempt: 1 },
      ...{ eventNumber: index + 1, type, at: control.clock.now(), error: null, result: null },
    }));
    await agent.call('report', agent.session({ events }));
  };
  const waitingFor = async (jobId: string): Promise<string[]> =>
    (await control.admin().job.query({ jobId })).waitingFor.map((other) => other.jobId);
  const [one, two] = [await order(backup('m1')), await order(backup('m2'))];
  for (const jobId of [one, two]) await start(jobId);
  const third = await order(backup('main'));
  expect([await waitingFor(one), await waitingFor(third)]).toEqual([[], [one, two]]);
  const undo = await order({ command: 'undo', target: 'main', restoreJobId: randomUUID() });
  expect([await waitingFor(undo), await waitingFor(third)]).toEqual([[third], []]);
  const [view] = await control.admin().jobs.query({ target: 'main', limit: 1 });
  expect(view?.waitingFor).toEqual([{ jobId: third, command: 'backup', target: 'main' }]);
});
