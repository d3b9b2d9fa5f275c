import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BoltSession,
  boltTargetOf,
  compareFingerprints,
  type GraphFingerprint,
  neo4jConnectionSchema,
  readFingerprint,
} from '@lastgood/engines/neo4j';
import type { JobResult, JobSpec, JobView } from '@lastgood/protocol';
import {
  aRestoreRequest,
  type Neo4jServer,
  type Neo4jService,
  seedGraph,
  startNeo4j,
  startNeo4jService,
  temporaryFolder,
  waitFor,
} from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../support/fleet.ts';

const forever = new AbortController().signal;
const LONG_MS = 300_000;
const QUERY_MS = 60_000;
const SWAP = { way: 'swap', database: 'neo4j' } as const;
const cleanup = new AsyncDisposableStack();
let server: Neo4jServer;
let service: Neo4jService;
let fleet: Fleet;
/** A backup of everything, and the graph at that moment. */
let backupId: string;
let original: GraphFingerprint;

beforeAll(async () => {
  server = cleanup.use(await startNeo4j());
  await seedGraph(server, 100);
  await server.stop();
  service = cleanup.use(await startNeo4jService(server));
  const { path } = cleanup.use(await temporaryFolder());
  const connection = { ...server.connection, scratch: { heapMb: 256, pageCacheMb: 64 } };
  fleet = cleanup.use(
    await Fleet.start(path, connection, {
      settings: {
        engine: 'neo4j',
        service: service.commands,
        allow: { restore: ['swap'], dropSetAside: true, uncontainedRestoreTests: true },
      },
    }),
  );
  original = await fingerprint();
}, LONG_MS);
afterAll(() => cleanup.disposeAsync(), LONG_MS);

async function fingerprint(): Promise<GraphFingerprint> {
  const target = await boltTargetOf(neo4jConnectionSchema.parse(server.connection));
  await using session = await BoltSession.open(target, forever);
  return await readFingerprint(session, 'neo4j', { digests: true, queryMs: QUERY_MS });
}
function resultOf<C extends JobResult['command']>(job: JobView, command: C): Extract<JobResult, { command: C }> {
  expect(job.error).toBeNull();
  expect(job.state).toBe('succeeded');
  if (job.result?.command !== command) throw new TypeError(`no result of ${command}`);
  return job.result as Extract<JobResult, { command: C }>;
}
const backup = (options: Record<string, string | boolean>, contents: string[] | null = null): JobSpec => ({
  command: 'backup',
  target: 'shop',
  method: null,
  contents,
  options,
});
async function restoreSpec(): Promise<JobSpec> {
  const request = aRestoreRequest(backupId, SWAP);
  const { plan } = resultOf(await fleet.run({ command: 'plan', target: 'shop', request }), 'plan');
  expect(plan.refusals).toEqual([]);
  return { command: 'restore', target: 'shop', request, planHash: plan.hash };
}
const managedStores = async (): Promise<string[]> =>
  (await readdir(join(server.dataFolder, 'databases'))).filter((name) => name.startsWith('lastgood-'));

test('a backup of everything stops the server shortly, and equals its source at level 6', {
  timeout: LONG_MS,
}, async () => {
  const job = await fleet.run(backup({ digests: true, way: 'stop-dump-start' }));
  const made = resultOf(job, 'backup').backup;
  ({ backupId } = made);
  expect(made.contents.map(({ name }) => name)).toEqual(['neo4j', 'system']);
  expect(made.warnings).toEqual([]);
  expect(compareFingerprints(original, await fingerprint())).toEqual([]);
  const verified = resultOf(await fleet.run({ command: 'verify', target: 'shop', backupId, level: 6 }), 'verify');
  expect(verified).toMatchObject({ passed: true, reached: 6, findings: [] });
});

test('a destroyed graph is restored by a swap, and undo brings back what was there before', {
  timeout: LONG_MS,
}, async () => {
  await service.query('MATCH (n) DETACH DELETE n');
  await service.query('CREATE (:Afterwards)');
  const jobId = await fleet.send(await restoreSpec());
  const restored = resultOf(await fleet.ended(jobId), 'restore');
  expect(restored.warnings.map(({ code }) => code)).toEqual(['ACCOUNTS_KEPT']);
  expect(restored.counts).toContainEqual({ label: 'nodes of neo4j', value: original.nodes, unit: 'count' });
  expect(compareFingerprints(original, await fingerprint())).toEqual([]);
  expect(await managedStores()).toEqual([restored.setAsideAs]);
  const undone = resultOf(await fleet.run({ command: 'undo', target: 'shop', restoreJobId: jobId }), 'undo');
  expect((await fingerprint()).labels).toEqual({ Afterwards: 1 });
  expect(await managedStores()).toEqual([undone.setAsideAs]);
  const name = undone.setAsideAs ?? '';
  const dropped = resultOf(await fleet.run({ command: 'drop-set-aside', target: 'shop', name }), 'drop-set-aside');
  expect(dropped.freedBytes).toBeGreaterThan(0);
  expect(await managedStores()).toEqual([]);
  const again = await fleet.run({ command: 'undo', target: 'shop', restoreJobId: jobId });
  expect(again).toMatchObject({ state: 'failed', error: { code: 'UNDO_IMPOSSIBLE' } });
});

/** Runs a job whose agent is killed at one point, and starts the next agent. */
async function runKilled(point: string, spec: JobSpec): Promise<JobView> {
  await fleet.killAgent();
  await fleet.startAgent({ LASTGOOD_FAULT: point });
  await fleet.untilOnline();
  const jobId = await fleet.send(spec);
  await fleet.agentEnded();
  await fleet.startAgent();
  return await fleet.ended(jobId);
}
const labels = async (): Promise<unknown> =>
  await waitFor('the database to be online', 60_000, forever, async () =>
    fingerprint().then(
      (found) => found.labels,
      () => undefined,
    ),
  );

test('A22: a server that does not start again after a backup is reported, and started as soon as that is possible', {
  timeout: LONG_MS,
}, async () => {
  const [start = ''] = service.commands.start;
  const script = await readFile(start);
  await writeFile(start, '#!/bin/sh\nexit 1\n');
  const jobId = await fleet.send(backup({ way: 'stop-dump-start' }, ['neo4j']));
  await waitFor('the finding', 60_000, forever, async () => {
    const [target] = await fleet.client.targets.query({});
    return target?.findings.some(({ code }) => code === 'COMPENSATION_FAILED') ? true : undefined;
  });
  await writeFile(start, script);
  expect(await fleet.ended(jobId)).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
  expect(await labels()).toEqual({ Afterwards: 1 });
});

test.for([
  ['step-effect:copy-store', 'stop-copy-start'],
  ['step-effect:stop-server', 'stop-dump-start'],
  ['compensation-effect:start-server', 'stop-dump-start'],
] as const)(
  'A22: an agent that is killed at %s of a backup leaves a running server, and the backup is taken again by %s',
  { timeout: LONG_MS },
  async ([point, way]) => {
    const job = await runKilled(point, backup({ way }, ['neo4j']));
    expect(job).toMatchObject({ state: 'succeeded', attempt: 2 });
    expect(await labels()).toEqual({ Afterwards: 1 });
    expect(await readdir(join(server.dataFolder, 'lastgood'))).toEqual([]);
  },
);

test.for([
  'step-effect:load-store',
  'step-effect:stop-server',
  'step-effect:swap-stores',
  'compensation-done:start-server',
])(
  'an agent that is killed at %s of a restore leaves a running server with the old database',
  { timeout: LONG_MS },
  async (point) => {
    const before = await managedStores();
    const job = await runKilled(point, await restoreSpec());
    expect(job).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
    expect(await labels()).toEqual({ Afterwards: 1 });
    expect(await managedStores()).toEqual(before);
  },
);

test('an agent that is killed during an undo leaves a running server with the restored database', {
  timeout: LONG_MS,
}, async () => {
  await fleet.untilOnline();
  const restoreJobId = await fleet.send(await restoreSpec());
  resultOf(await fleet.ended(restoreJobId), 'restore');
  const undo: JobSpec = { command: 'undo', target: 'shop', restoreJobId };
  const job = await runKilled('step-effect:undo-swap', undo);
  expect(job).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } });
  expect(await labels()).toEqual(original.labels);
  await fleet.untilOnline();
  resultOf(await fleet.run(undo), 'undo');
  expect(await labels()).toEqual({ Afterwards: 1 });
});
