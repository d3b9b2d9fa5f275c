import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, styleText } from 'node:util';
import { formatFinding, type RestoreRequest } from '@lastgood/protocol';
import {
  type AdminClient,
  adminClient,
  freePort,
  type PostgresServer,
  root,
  seedShop,
  startOnFolder,
  startPrimary,
  startProcess,
  waitFor,
} from '@lastgood/testkit';
import { cacheTarget, runCacheJob, startCache } from './demo-cache.ts';
import { megabytes, print, run, seconds, stopping } from './demo-console.ts';
import { runGraphJob, startGraphDemo } from './demo-graph.ts';

const { values: options } = parseArgs({
  options: { once: { type: 'boolean', default: false }, neo4j: { type: 'boolean', default: false } },
});
async function writeAgentFile(
  folder: string,
  url: string,
  connection: object,
  others: Readonly<Record<string, object>>,
): Promise<string> {
  const file = join(folder, 'agent.yaml');
  const config = {
    control: { url },
    environment: 'demo',
    host: 'localhost',
    labels: { purpose: 'demo' },
    dataDir: join(folder, 'agent'),
    repositories: { local: { type: 'folder', path: join(folder, 'repository') } },
    restoreFolders: { drill: join(folder, 'restores') },
    targets: {
      shop: {
        engine: 'postgres',
        labels: {},
        repository: 'local',
        connection,
        stream: { switchSeconds: 2 },
        // The databases are those of the demo: they may be tested where the host has no namespaces.
        allow: { restore: ['new', 'swap', 'folder'], rotate: true, uncontainedRestoreTests: true },
      },
      ...others,
    },
  };
  // JSON is valid YAML and needs no quoting rules.
  await writeFile(file, JSON.stringify(config, null, 2), { mode: 0o600 });
  return file;
}

async function runMainJob(client: AdminClient, server: PostgresServer): Promise<void> {
  const digest = async (): Promise<string> => {
    const rows = await server.query(
      'shop',
      "select count(*) as n, md5(string_agg(md5(o::text), '' order by md5(o::text))) as d from orders o",
    );
    return JSON.stringify(rows);
  };
  const before = await digest();
  print('backing up all databases: dumps, globals and a fingerprint of every table, each database from one snapshot');
  const backup = await run(client, {
    command: 'backup',
    target: 'shop',
    method: null,
    contents: null,
    options: { digests: true },
  });
  print(
    `${styleText('green', '✓')} backup ${backup.backup.backupId}: ${megabytes(backup.backup.producedBytes)} stored as ${megabytes(backup.backup.storedBytes)}, read back and compared (${seconds(backup.durationMs)})`,
  );
  print('restore test: restoring into a scratch server and comparing every table with the source (level 6)');
  const verified = await run(client, { command: 'verify', target: 'shop', backupId: backup.backup.backupId, level: 6 });
  if (!verified.passed)
    throw new Error(
      `the backup did not reach level 6: ${verified.findings.map((finding) => formatFinding(finding)).join('; ')}`,
    );
  print(
    `${styleText('green', '✓')} restore-tested: level ${verified.reached}, equal to the source (${seconds(verified.durationMs)})`,
  );
  await server.query('shop', 'drop table orders cascade');
  print(`${styleText('red', '✗')} dropped table orders on purpose`);
  const request: RestoreRequest = {
    scope: { kind: 'database', database: 'shop' },
    point: { kind: 'backup', backupId: backup.backup.backupId },
    into: { way: 'swap' },
    options: {},
  };
  const { plan } = await run(client, { command: 'plan', target: 'shop', request });
  print(
    `plan ${plan.hash.slice(0, 12)}: reads ${megabytes(plan.readBytes)}, replaces ${plan.replaces.join(', ') || 'nothing'}; the old database is set aside for undo`,
  );
  const restore = await run(client, {
    command: 'restore',
    target: 'shop',
    request,
    planHash: plan.hash,
  });
  const after = await digest();
  if (after !== before) throw new Error('the restored table differs from the original');
  print(
    `${styleText('green', '✓')} restored by swap: ${restore.counts.map(({ label, value }) => `${value} ${label}`).join(', ')} (${seconds(restore.durationMs)}); table orders equals the original`,
  );
  const rows: [string, string][] = [
    ['backup', seconds(backup.durationMs)],
    ['restore test (level 6)', seconds(verified.durationMs)],
    ['restore time (measured)', seconds(restore.durationMs)],
    ['old database set aside as', restore.setAsideAs ?? '-'],
  ];
  const instant = new Date(backup.backup.recoveryPoint).toLocaleString('sv', { timeZoneName: 'longOffset' });
  console.log(`\n${styleText('bold', 'Recovery point if the server died now:')} ${instant}`);
  for (const [name, value] of rows) console.log(`  ${name.padEnd(44)}${value}`);
}

/** Loses rows, and restores the whole server to the instant before, from a physical backup and the WAL stream. */
async function runPointInTime(client: AdminClient, server: PostgresServer, folder: string): Promise<void> {
  const count = async (of: Pick<PostgresServer, 'query'>): Promise<number> =>
    Number((await of.query('shop', 'select count(*)::int as n from payments'))[0]?.['n']);
  print('point in time: a physical backup of the whole server; the agent receives its WAL all the time');
  await server.query('shop', 'create table payments as select i as id from generate_series(1, 5000) as i');
  const { backup } = await run(client, {
    command: 'backup',
    target: 'shop',
    method: 'physical',
    contents: null,
    options: {},
  });
  const verified = await run(client, { command: 'verify', target: 'shop', backupId: backup.backupId, level: 5 });
  if (!verified.passed) throw new Error('the physical backup did not reach level 5');
  print(
    `${styleText('green', '✓')} restore-tested: level 5, it starts and every table is read (${seconds(verified.durationMs)})`,
  );
  const before = await count(server);
  const text = `to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
  const time = String((await server.query('shop', `select ${text} as at`))[0]?.['at']);
  await server.query('shop', 'delete from payments');
  print(`${styleText('red', '✗')} deleted all ${before} payments at ${time}, on purpose`);
  await waitFor('the WAL to be stored', 120_000, stopping.signal, async () => {
    const target = (await client.targets.query({})).find(({ name }) => name === 'shop');
    return Date.parse(target?.stream?.storedUntil ?? '1970-01-01') > Date.parse(time) ? true : undefined;
  });
  const request: RestoreRequest = {
    scope: { kind: 'server' },
    point: { kind: 'time', time },
    into: { way: 'folder', folder: 'drill' },
    options: {},
  };
  const { plan } = await run(client, { command: 'plan', target: 'shop', request });
  const restored = await run(client, { command: 'restore', target: 'shop', request, planHash: plan.hash });
  const dataDir = join(folder, 'restores', restored.into.replace('drill/', ''), 'data');
  await using copy = await startOnFolder(server, dataDir);
  const after = await count(copy);
  if (after !== before) throw new Error(`the server restored to ${time} has ${after} payments instead of ${before}`);
  print(
    `${styleText('green', '✓')} restored the server to ${time} beside it: ${after} payments are there again (${seconds(restored.durationMs)})`,
  );
}

const PREFIX = 'lastgood-demo-';
/** Removes the folders of killed demos. Their processes died with them. */
async function sweepKilledDemos(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}

await using cleanup = new AsyncDisposableStack();
let failed = false;
try {
  await sweepKilledDemos();
  const folder = await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`));
  // The server runs as another user and must reach its own folder. Every folder in here is private.
  await chmod(folder, 0o711);
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  process.env['TMPDIR'] = folder;
  print('starting a throw-away PostgreSQL with sample data');
  const server = cleanup.use(await startPrimary());
  await seedShop(server, 'shop', { rows: 20_000 });
  const cache = await startCache();
  if (cache !== null) cleanup.use(cache);
  if (options.neo4j) print('starting a throw-away Neo4j with sample data');
  const graph = options.neo4j ? cleanup.use(await startGraphDemo()) : null;
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  print(`starting the control plane on ${url} and an agent as separate processes`);
  cleanup.use(
    await startProcess(
      'control',
      [join(root, 'apps/control/src/main.ts'), '--data', join(folder, 'control'), '--port', String(port)],
      stopping,
    ),
  );
  await waitFor('the control plane', 30_000, stopping.signal, async () =>
    (await fetch(`${url}/healthz`).catch(() => undefined))?.ok ? true : undefined,
  );
  const tokenFile = join(folder, 'control', 'admin.token');
  const client = await adminClient(url, tokenFile);
  await mkdir(join(folder, 'repository'), { mode: 0o700 });
  await mkdir(join(folder, 'restores'), { mode: 0o700 });
  // The owner of a restore folder runs the restored server.
  const { uid, gid } = await stat(server.dataDir);
  await chown(join(folder, 'restores'), uid, gid);
  const others = {
    ...(cache === null ? {} : { cache: cacheTarget(cache) }),
    ...(graph === null ? {} : { graph: graph.target }),
  };
  const config = await writeAgentFile(folder, url, server.connection, others);
  const { token } = await client.createEnrollToken.mutate({
    environment: 'demo',
    host: 'localhost',
    expiresInHours: 1,
  });
  const enrollToken = join(folder, 'enroll.token');
  await writeFile(enrollToken, token, { mode: 0o600 });
  const enrolled = await startProcess(
    'agent enroll',
    [join(root, 'apps/agent/src/main.ts'), 'enroll', '--config', config, '--url', url, '--token-file', enrollToken],
    undefined,
  );
  await enrolled.ended;
  cleanup.use(await startProcess('agent', [join(root, 'apps/agent/src/main.ts'), 'run', '--config', config], stopping));
  const targets = 1 + Object.keys(others).length;
  await waitFor('the agent to report its targets', 30_000, stopping.signal, async () =>
    (await client.targets.query({})).filter((target) => target.online && target.state === 'ok').length === targets
      ? true
      : undefined,
  );
  if (cache !== null) await runCacheJob(client, cache);
  await runMainJob(client, server);
  await runPointInTime(client, server, folder);
  if (graph !== null) await runGraphJob(graph, (spec) => run(client, spec), print, seconds);
  if (!options.once) {
    const { code } = await client.createSignInCode.mutate({ expiresInMinutes: 24 * 60 });
    console.log(`\nThe dashboard, with a link that signs in once:\n  ${url}/sign-in#code=${code}`);
    console.log(
      `\nThe demo keeps running. In another terminal:\n  export PATH="${join(root, 'bin')}:$PATH" LASTGOOD_URL=${url} LASTGOOD_TOKEN_FILE=${tokenFile}\n  lastgood status\nCtrl-C removes everything.`,
    );
    const keepAlive = setInterval(() => undefined, 60_000);
    await new Promise<void>((resolve) =>
      stopping.signal.aborted ? resolve() : stopping.signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    clearInterval(keepAlive);
    console.log('\nremoving everything');
  }
} catch (error) {
  failed = true;
  if (stopping.signal.aborted && stopping.signal.reason?.name !== 'ProcessEnded') console.error('stopped');
  else console.error(`${styleText('red', 'failed:')} ${error instanceof Error ? error.message : String(error)}`);
}
await cleanup.disposeAsync();
process.exitCode = failed ? 1 : 0;
