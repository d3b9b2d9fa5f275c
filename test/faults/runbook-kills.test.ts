import { randomUUID } from 'node:crypto';
import type { RunbookRunView } from '@lastgood/protocol';
import { waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Random } from '../simulation/random.ts';
import { RecoverySite } from '../support/recovery-site.ts';

const LONG_MS = 300_000;
const HOST = 'test/db-1';
const SEED = 20_261_130;
const KILLS = 10;
const forever = new AbortController().signal;

let site: RecoverySite;
const cleanup = new AsyncDisposableStack();

const STEPS = {
  postgres: { restore: { target: `${HOST}/postgres`, database: 'rulex_db', into: 'swap' }, retries: 10 },
  redis: { after: ['postgres'], restore: { target: `${HOST}/redis`, into: 'swap' }, retries: 10 },
  answers: { after: ['postgres'], check: { host: HOST, name: 'answers' }, retries: 10 },
  'start-application': { after: ['answers', 'redis'], hook: { host: HOST, name: 'start-application' }, retries: 10 },
  health: { after: ['start-application'], check: { host: HOST, name: 'health' }, retries: 10 },
};

beforeAll(async () => {
  site = cleanup.use(await RecoverySite.open());
  for (const target of ['postgres', 'redis'])
    await site.fleet.run({ command: 'backup', target, method: null, contents: null, options: {} });
  expect(await site.apply({ runbooks: { recovery: { steps: STEPS } } })).toMatchObject({ status: 0 });
}, LONG_MS);
afterAll(() => cleanup.disposeAsync(), 60_000);

async function start(): Promise<string> {
  const { client } = site.fleet;
  const input = { runbook: 'recovery', mode: 'run' } as const;
  const { hash, set } = await client.planRunbook.query(input);
  const consent = { planHash: hash, confirm: 'recovery', acceptedSkew: set.lagging, idempotencyKey: randomUUID() };
  return (await client.startRunbook.mutate({ ...input, ...consent })).run.runId;
}

/** The first state of a run for which this holds. The control plane may be away meanwhile. */
const until = (runId: string, what: string, holds: (view: RunbookRunView) => boolean): Promise<RunbookRunView> =>
  waitFor(what, 120_000, forever, async () => {
    const view = await site.fleet.client.runbookRun.query({ runId }).catch(() => undefined);
    return view !== undefined && holds(view) ? view : undefined;
  });

/** A step that failed for another reason than the kill itself, such as a server that was just being started, is retried by a person. */
async function retryFailed({ run }: RunbookRunView): Promise<void> {
  const failed = run.steps.filter(({ status }) => status.state === 'failed');
  for (const { name: step } of failed)
    await site.fleet.client.resumeRunbook.mutate({ runId: run.runId, decision: { type: 'retry', step } });
}

const isOver = ({ run }: RunbookRunView): boolean => run.endedAt !== null;

async function kill(victim: 'control' | 'agent'): Promise<void> {
  if (victim === 'control') {
    await site.fleet.killControl();
    await site.fleet.startControl();
  } else {
    await site.fleet.killAgent();
    await site.fleet.startAgent();
  }
}

test('F4: ten kills of control plane and agent during runs change nothing in the end', {
  timeout: LONG_MS,
}, async () => {
  const random = new Random(SEED);
  const runIds: string[] = [];
  for (let kills = 0; kills < KILLS; ) {
    await site.destroy();
    const runId = await start();
    runIds.push(runId);
    let seen = 0;
    for (;;) {
      const wanted = seen + 1 + random.below(2);
      const view = await until(
        runId,
        `event ${wanted} of run ${runId}`,
        (now) =>
          isOver(now) ||
          now.run.events.length >= wanted ||
          now.run.steps.some(({ status }) => status.state === 'failed'),
      );
      if (isOver(view)) break;
      await retryFailed(view);
      seen = view.run.events.length;
      if (kills < KILLS) await kill(random.chance(0.5) ? 'control' : 'agent');
      kills += 1;
    }
    expect(await site.state()).toEqual({ orders: 200, keys: 200, health: 'UP' });
  }
  const jobs = await site.fleet.client.jobs.query({ limit: 1000 });
  // What is destructive has one attempt per job, and every job of a run has a try of its own.
  const destructive = jobs.filter(({ command }) => command === 'restore' || command === 'hook');
  expect(destructive.length).toBeGreaterThanOrEqual(runIds.length * 3);
  expect(destructive.map(({ attempt }) => attempt)).toEqual(destructive.map(() => 1));
  for (const runId of runIds) {
    const { run } = await site.fleet.client.runbookRun.query({ runId });
    expect(run.state).toBe('succeeded');
    const succeeded = run.steps.map(({ results }) =>
      results.filter((each) => each.command !== 'plan' && each.state === 'succeeded'),
    );
    expect(succeeded.map((each) => each.length)).toEqual(run.steps.map(() => 1));
  }
});
