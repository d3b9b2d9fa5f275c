import { styleText } from 'node:util';
import { formatFinding, type JobResult, type JobSpec, type RestoreRequest } from '@lastgood/protocol';
import { type Neo4jService, seedGraph, startNeo4j, startNeo4jService } from '@lastgood/testkit';

const TARGET = 'graph';

/** Runs one job and returns its result. Throws when the job does not succeed. */
type RunJob = <C extends JobSpec['command']>(
  spec: Extract<JobSpec, { command: C }>,
) => Promise<Extract<JobResult, { command: C }>>;

/** A throw-away Neo4j with sample data, run by the commands of a service. */
export interface GraphDemo extends AsyncDisposable {
  /** The target in the agent file. */
  readonly target: object;
  readonly service: Neo4jService;
}

export async function startGraphDemo(): Promise<GraphDemo> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startNeo4j());
  await seedGraph(server, 1_000);
  await server.stop();
  const service = cleanup.use(await startNeo4jService(server));
  const owned = cleanup.move();
  const target = {
    engine: 'neo4j',
    labels: {},
    repository: 'local',
    connection: server.connection,
    service: service.commands,
    allow: { restore: ['swap'], uncontainedRestoreTests: true },
  };
  return { target, service, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Backs the graph up, restore-tests it, destroys it, and restores it by a swap. */
export async function runGraphJob(
  { service }: GraphDemo,
  run: RunJob,
  print: (text: string) => void,
  seconds: (ms: number) => string,
): Promise<void> {
  const count = async (): Promise<number> =>
    Number((await service.query('MATCH (n) RETURN count(n) AS count'))[0]?.['count']);
  const before = await count();
  print('Neo4j: backing up the graph and the database "system"; the server is stopped shortly or frozen');
  const { backup, durationMs } = await run({
    command: 'backup',
    target: TARGET,
    method: null,
    contents: null,
    options: { digests: true },
  });
  print(`${styleText('green', '✓')} backup ${backup.backupId} (${seconds(durationMs)})`);
  const verified = await run({ command: 'verify', target: TARGET, backupId: backup.backupId, level: 6 });
  if (!verified.passed)
    throw new Error(`the backup did not reach level 6: ${verified.findings.map(formatFinding).join('; ')}`);
  print(`${styleText('green', '✓')} restore-tested: level ${verified.reached} (${seconds(verified.durationMs)})`);
  await service.query('MATCH (n) DETACH DELETE n');
  print(`${styleText('red', '✗')} deleted the graph on purpose`);
  const request: RestoreRequest = {
    scope: { kind: 'database', database: 'neo4j' },
    point: { kind: 'backup', backupId: backup.backupId },
    into: { way: 'swap' },
    options: {},
  };
  const { plan } = await run({ command: 'plan', target: TARGET, request });
  const restore = await run({ command: 'restore', target: TARGET, request, planHash: plan.hash });
  if ((await count()) !== before) throw new Error('the restored graph differs from the original');
  const downtime = restore.counts.find(({ label }) => label === 'downtime')?.value;
  print(
    `${styleText('green', '✓')} restored by swap: ${before} nodes, ${seconds(Number(downtime))} of downtime; the old database is kept as ${restore.setAsideAs}`,
  );
}
