import { spawnSync } from 'node:child_process';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commandLine } from '../support/command-line.ts';
import { RecoverySite } from '../support/recovery-site.ts';

const LONG_MS = 240_000;
const HOST = 'test/db-1';

let site: RecoverySite;
const cleanup = new AsyncDisposableStack();

/** The disaster recovery of the founding document for two databases: restore, validate, start the application, validate again. */
const RUNBOOK = {
  objectives: { rto: '4h' },
  contacts: ['dba'],
  steps: {
    infrastructure: { title: 'The servers are provisioned', approve: { by: 'anyone' } },
    postgres: {
      title: 'Restore PostgreSQL',
      after: ['infrastructure'],
      restore: { target: `${HOST}/postgres`, database: 'rulex_db', into: 'swap' },
    },
    redis: {
      title: 'Restore Redis',
      after: ['postgres'],
      restore: { target: `${HOST}/redis`, into: 'swap' },
      alternative: [{ hook: { host: HOST, name: 'rebuild-redis' } }, { check: { host: HOST, name: 'velocity-keys' } }],
    },
    answers: { after: ['postgres'], check: { host: HOST, name: 'answers' } },
    migrations: { after: ['postgres'], check: { host: HOST, name: 'migrations' } },
    ping: { after: ['redis'], check: { host: HOST, name: 'ping' } },
    'start-application': { after: ['answers', 'migrations', 'ping'], hook: { host: HOST, name: 'start-application' } },
    health: { after: ['start-application'], check: { host: HOST, name: 'health' } },
    transaction: { after: ['health'], check: { host: HOST, name: 'sample-transaction' } },
  },
};
/** A check that never passes, beside one that does. */
const FAILING = {
  contacts: ['dba'],
  steps: {
    fails: { check: { host: HOST, name: 'never-passes' } },
    passes: { check: { host: HOST, name: 'ping' } },
    last: { after: ['fails'], check: { host: HOST, name: 'ping' } },
  },
};
const FLEET = {
  contacts: { dba: { email: ['dba@empresa.com'] } },
  runbooks: { recovery: RUNBOOK, failing: FAILING },
};
const WHOLE = { orders: 200, keys: 200, health: 'UP' };
const DESTROYED = { orders: -1, keys: 0, health: 'NONE' };
const SKEW = ['--accept-skew', `${HOST}/postgres`];
const CONSENT = ['--confirm', 'recovery', '--approve', 'infrastructure', ...SKEW];

beforeAll(async () => {
  site = cleanup.use(await RecoverySite.open());
  for (const target of ['postgres', 'redis']) {
    const backup = await site.lastgood('backup', target);
    expect(backup, backup.stderr).toMatchObject({ status: 0 });
  }
  const applied = await site.apply(FLEET);
  expect(applied, applied.stderr).toMatchObject({ status: 0 });
}, LONG_MS);
afterAll(() => cleanup.disposeAsync(), 60_000);

/** Runs a command and gives its output; fails with that output when the exit status is another. */
async function ran(status: number, ...args: string[]): Promise<string> {
  const { status: found, stdout, stderr } = await site.lastgood(...args);
  expect(found, `${args.join(' ')}\n${stdout}\n${stderr}`).toBe(status);
  return stdout + stderr;
}
/** The states of the steps of a run in its JSON document. */
async function statesOf(wanted: string): Promise<Record<string, string>> {
  const { stdout } = await site.lastgood('runbooks', 'status', wanted, '--json');
  const { run } = JSON.parse(stdout) as { run: { steps: { name: string; status: { state: string } }[] } };
  return Object.fromEntries(run.steps.map(({ name, status }) => [name, status.state]));
}

test('one command brings back destroyed databases and the application over them', { timeout: LONG_MS }, async () => {
  await site.destroy();
  expect(await site.state()).toEqual(DESTROYED);
  const plan = await ran(0, 'runbooks', 'plan', 'recovery');
  expect(plan).toMatch(/recovery set: the newest of each target; .* between the oldest and the newest point/);
  expect(plan).toContain('dba: dba@empresa.com');
  const checklist = await ran(0, 'runbooks', 'run', 'recovery', ...CONSENT);
  expect(checklist).toContain('recovery: succeeded; 9 of 9 steps');
  expect(await site.state()).toEqual(WHOLE);
  expect(Object.values(await statesOf('recovery'))).toEqual(Array.from({ length: 9 }, () => 'succeeded'));
});

test('nothing runs without consent by name, to the skew, and to the plan that was shown', {
  timeout: LONG_MS,
}, async () => {
  const before = await site.state();
  const run = ['runbooks', 'run', 'recovery'];
  expect(await ran(3, ...run, '--confirm', 'something-else', ...SKEW)).toContain('is not "recovery"');
  expect(await ran(3, ...run, '--confirm', 'recovery')).toContain(`--accept-skew ${HOST}/postgres`);
  expect(await ran(3, ...run, ...CONSENT, '--plan', '0123456789ab')).toContain('PLAN_CHANGED');
  const { token } = await site.fleet.client.createToken.mutate({ name: 'ops', scope: 'operate', expiresInHours: 1 });
  const operator = commandLine({ url: site.fleet.url, token });
  expect(await operator(...run, ...CONSENT)).toMatchObject({ status: 3 });
  expect(await site.state()).toEqual(before);
});

test('a failed restore stops what depends on it; a person takes the alternative and the run goes on', {
  timeout: LONG_MS,
}, async () => {
  await site.destroy();
  await site.redis.stop();
  // A server that is down is restored by its configuration file, which is lost as well.
  const { configFile } = site.redis;
  await rename(configFile, `${configFile}.lost`);
  const stopped = await ran(2, 'runbooks', 'run', 'recovery', ...CONSENT);
  expect(stopped).toContain('step redis FAILED: DATABASE_UNREACHABLE');
  expect(stopped).toMatch(/take the alternative: lastgood runbooks resume \w{8} --alternative redis/);
  expect(stopped).toContain('dba: dba@empresa.com');
  expect(await statesOf('recovery')).toMatchObject({ postgres: 'succeeded', answers: 'succeeded', ping: 'pending' });
  // A second run of the same runbook would work on the same targets.
  expect(await ran(2, 'runbooks', 'run', 'recovery', ...CONSENT)).toContain('has not ended');
  await rename(`${configFile}.lost`, configFile);
  await site.redis.start();
  await ran(0, 'runbooks', 'resume', 'recovery', '--alternative', 'redis');
  expect(await site.state()).toEqual(WHOLE);
  const { stdout } = await site.lastgood('audit', 'list', '--json');
  expect(stdout).toContain('runbook.alternative');
});

test('a check that does not pass is skipped with a reason, or the run is aborted', { timeout: LONG_MS }, async () => {
  const stopped = await ran(2, 'runbooks', 'run', 'failing', '--confirm', 'failing');
  expect(stopped).toContain('step fails FAILED: CHECK_FAILED');
  expect(stopped).toContain('127.0.0.1:1 cannot be reached: ECONNREFUSED');
  expect(await statesOf('failing')).toEqual({ fails: 'failed', passes: 'succeeded', last: 'pending' });
  await ran(64, 'runbooks', 'resume', 'failing', '--skip', 'fails');
  await ran(2, 'runbooks', 'resume', 'failing', '--retry', 'fails');
  const skipped = await ran(0, 'runbooks', 'resume', 'failing', '--skip', 'fails', '--reason', 'known and harmless');
  expect(skipped).toContain('by admin: known and harmless');
  await ran(2, 'runbooks', 'run', 'failing', '--confirm', 'failing');
  expect(await ran(0, 'runbooks', 'abort', 'failing', '--reason', 'enough')).toContain('aborted');
  expect(await ran(2, 'runbooks', 'abort', 'failing', '--reason', 'enough')).toContain('has ended');
});

test('N6: a drill tests every restore in a scratch server, is timed, and touches nothing live', {
  timeout: LONG_MS,
}, async () => {
  await site.destroy();
  const drill = await ran(0, 'runbooks', 'drill', 'recovery');
  expect(drill).toContain('restore-tested at level 5');
  expect(await site.state()).toEqual(DESTROYED);
  expect(await statesOf('recovery')).toMatchObject({ postgres: 'succeeded', redis: 'succeeded', health: 'left-out' });
  const { stdout } = await site.lastgood('runbooks', 'status', '--json');
  expect(JSON.parse(stdout)).toMatchObject({
    runbooks: [{ name: 'recovery', lastDrill: { state: 'succeeded' } }, { name: 'failing' }],
  });
  const backups = await site.fleet.client.backups.query({});
  expect(backups.map(({ verified }) => [verified?.level, verified?.passed])).toEqual([
    [5, true],
    [5, true],
  ]);
});

test('a runbook that names what a host does not define is not put in force', async () => {
  const steps = {
    a: { check: { host: HOST, name: 'unknown' } },
    b: { hook: { host: HOST, name: 'forbidden' } },
    c: { check: { host: 'test/db-9', name: 'ping' } },
  };
  const { status, stderr } = await site.apply({ ...FLEET, runbooks: { ...FLEET.runbooks, wrong: { steps } } });
  expect(status).toBe(64);
  expect(stderr).toContain(`the agent file of ${HOST} has no check "unknown"`);
  expect(stderr).toContain(`the agent file of ${HOST} has no hook "forbidden" that the control plane may run`);
  expect(stderr).toContain('no agent is enrolled as "test/db-9"');
});

/** Exit status and output of the script that an auditor runs. */
async function verifyEvidence(folder: string): Promise<{ status: number | null; output: string }> {
  const { status, stdout, stderr } = spawnSync('/bin/sh', [join(folder, 'verify.sh')], { encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

test('an auditor checks the exported evidence with sha256sum and openssl alone, and notices every change', async () => {
  const folder = join(site.folder, 'audit');
  expect(await ran(0, 'evidence', 'export', '--to', folder)).toMatch(/\d reports are in/);
  expect(await ran(64, 'evidence', 'export', '--to', folder)).toContain('is not empty');
  expect(await verifyEvidence(folder)).toMatchObject({
    status: 0,
    output: expect.stringContaining('reports are unchanged'),
  });
  const names = await readdir(folder);
  const last =
    names
      .filter((name) => name.endsWith('.json'))
      .toSorted()
      .at(-1) ?? '';
  const report = JSON.parse(await readFile(join(folder, last), 'utf8'));
  expect(report).toMatchObject({ mode: 'drill', runbook: 'recovery', state: 'succeeded', objective: { met: true } });
  expect(report.steps.find(({ name }: { name: string }) => name === 'postgres').jobs).toMatchObject([{ level: 5 }]);
  const page = await readFile(join(folder, last.replace('.json', '.html')), 'utf8');
  expect(page).toContain('restore-tested at level 5');
  expect(page).not.toMatch(/<script|https?:/);
  // A report that was changed, with a hash that was made to fit: the signature and the chain still show it.
  const first = names.filter((name) => name.endsWith('.json')).toSorted()[0] ?? '';
  const text = await readFile(join(folder, first), 'utf8');
  await writeFile(join(folder, first), text.replace('"succeeded"', '"failed"'));
  spawnSync('/bin/sh', ['-c', 'sha256sum * | grep -v SHA256SUMS >/tmp/sums.$$; mv /tmp/sums.$$ SHA256SUMS'], {
    cwd: folder,
  });
  const changed = await verifyEvidence(folder);
  expect(changed.status).toBe(1);
  expect(changed.output).toContain(`${first}: the signature does not match`);
  expect(changed.output).toContain(`does not follow ${first}`);
});
