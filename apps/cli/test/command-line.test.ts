import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { type JobResult, type JobSpec, type JobView, makeRefusal, type RestorePlanSummary } from '@lastgood/protocol';
import { aRestorePlan, aRestoreRequest, someDatabases } from '@lastgood/testkit';
import { afterEach, expect, test } from 'vitest';
import { BACKUP_ID, backup, ESCAPE, jobIdOf, OTHER_BACKUP_ID, type Served, serve } from './fake-control.ts';
import { run, start } from './lastgood.ts';

const cleanup: AsyncDisposable[] = [];
afterEach(async () => {
  for (const entry of cleanup.splice(0)) await entry[Symbol.asyncDispose]();
});
const keep = <T extends AsyncDisposable>(entry: T): T => {
  cleanup.push(entry);
  return entry;
};
const done = (result: JobResult): Partial<JobView> => ({ state: 'succeeded', endedAt: 1, result });
const plan = (over: Partial<RestorePlanSummary> = {}): RestorePlanSummary =>
  aRestorePlan({
    backupId: BACKUP_ID,
    hash: 'f'.repeat(64),
    into: "it's",
    confirm: "it's",
    details: [{ label: 'version', value: `15${ESCAPE}`, unit: 'text' }],
    ...over,
  });
const request = aRestoreRequest(BACKUP_ID, { way: 'swap', database: 'shop' });
/** The backup that a job reads. */
function backupOf(spec: JobSpec): string | undefined {
  if (spec.command === 'verify') return spec.backupId ?? undefined;
  return spec.command === 'plan' && spec.request.point.kind === 'backup' ? spec.request.point.backupId : undefined;
}
const restoring = (over: Partial<RestorePlanSummary> = {}): Promise<Served> =>
  serve(({ spec }) =>
    spec.command === 'plan'
      ? done({ command: 'plan', plan: plan(over) })
      : done({
          command: 'restore',
          backupId: BACKUP_ID,
          scope: { kind: 'database', database: 'shop' },
          recoveryPoint: '2026-11-23T22:00:00Z',
          into: "it's",
          setAsideAs: 'old',
          warnings: [],
          counts: [{ label: 'rows', value: 2, unit: 'count' }],
          durationMs: 1,
        }),
  );
const verified = (passed: boolean): Promise<Served> =>
  serve(() =>
    done({
      command: 'verify',
      backupId: `${BACKUP_ID}${ESCAPE}`,
      level: 1,
      reached: passed ? 1 : 0,
      passed,
      findings: [],
      remarks: [],
      durationMs: 1,
      at: '',
    }),
  );
const idle = (): Promise<Served> => serve(() => ({}));

test('a restore sends the plan first, then the restore with the hash of that plan', async () => {
  const served = keep(await restoring());
  const ran = await run(served.url, 'restore', 'shop', '0b8f2', '--database', 'shop', '--swap', '--confirm', "it's");
  expect([ran.status, served.created.map(({ spec }) => spec)]).toEqual([
    0,
    [
      { command: 'plan', target: 'shop', request },
      { command: 'restore', target: 'shop', request, planHash: 'f'.repeat(64) },
    ],
  ]);
  expect(new Set(served.created.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(2);
  expect(ran.stdout).toContain(`lastgood undo test/db-1/shop ${jobIdOf(1)} --confirm 'it'\\''s'`);
});

test.for([[['--swap']], [['--in-place']], [['--swap', '--confirm', 'shop']], [['--in-place', '--confirm', "IT'S"]]])(
  'F1: restore %j without the exact name of the plan starts no restore',
  async ([ways]) => {
    const served = keep(await restoring());
    const ran = await run(served.url, 'restore', 'shop', '--database', 'shop', ...(ways ?? []));
    expect([ran.status, served.created.map(({ spec }) => spec.command)]).toEqual([3, ['plan']]);
    expect(ran.stderr).toContain('error NOT_CONFIRMED: ');
    expect(ran.stderr).toContain('what to do: ');
  },
);

const notAllowed = makeRefusal('RESTORE_NOT_ALLOWED', { kind: 'target', name: 'shop' }, { mode: 'swap' });
const exists = makeRefusal('DATABASE_EXISTS', { kind: 'database', name: 'shop' });

test('a refused plan starts no restore, whatever is confirmed', async () => {
  const served = keep(await restoring({ refusals: [notAllowed, exists] }));
  const ran = await run(served.url, 'restore', 'shop', '--database', 'shop', '--swap', '--confirm', "it's");
  expect([ran.status, served.created.length]).toEqual([3, 1]);
  expect(ran.stderr).toContain('error HOST_LIMIT: the agent file of the host does not allow to restore target "shop"');
  expect(ran.stderr).toContain('; database "shop" already exists');
  expect(ran.stderr).toContain('what to do: Add the way to `allow.restore`');
});

test('a plan that is only shown ends with 0, a refused one with the exit status of what refuses it', async () => {
  const fine = keep(await restoring());
  expect((await run(fine.url, 'restore', 'shop', '--database', 'shop', '--swap', '--plan-only')).status).toBe(0);
  const refused = keep(await restoring({ refusals: [notAllowed] }));
  expect((await run(refused.url, 'restore', 'shop', '--database', 'shop', '--swap', '--plan-only')).status).toBe(3);
  expect([fine.created.length, refused.created.length]).toEqual([1, 1]);
  const full = makeRefusal('SERVER_SPACE_LOW', null, { needed: 2, free: 1 });
  const impossible = keep(await restoring({ refusals: [full] }));
  expect((await run(impossible.url, 'restore', 'shop', '--database', 'shop', '--swap', '--plan-only')).status).toBe(2);
});

test.for([
  [true, 0],
  [false, 4],
] as const)('a verification that passed: %s ends with %i', async ([passed, status]) => {
  const served = keep(await verified(passed));
  expect((await run(served.url, 'verify', 'shop', 'latest')).status).toBe(status);
  expect((await run(served.url, '--json', 'jobs', 'watch', jobIdOf(0))).status).toBe(status);
});

test('the latest backup is the newest good one for a restore, and one that is suspect can be checked', async () => {
  const restored = keep(await serve(() => ({ state: 'failed', endedAt: 1 }), { state: 'suspect' }));
  await run(restored.url, 'restore', 'shop', '--database', 'shop', '--to-new', 'x');
  await run(restored.url, 'verify', 'shop');
  expect(restored.created.map((created) => backupOf(created.spec))).toEqual([OTHER_BACKUP_ID, BACKUP_ID]);
});

test('the latest backup to restore a database from is the newest that holds it, for a dropped one is in none of late', async () => {
  const served = keep(await serve(() => ({ state: 'failed', endedAt: 1 }), { contents: someDatabases('crm') }));
  await run(served.url, 'restore', 'shop', '--database', 'shop', '--to-new', 'x');
  await run(served.url, 'restore', 'shop', '--database', 'crm', '--to-new', 'x');
  expect(served.created.map((created) => backupOf(created.spec))).toEqual([OTHER_BACKUP_ID, BACKUP_ID]);
  const none = await run(served.url, 'restore', 'shop', '--database', 'nowhere', '--to-new', 'x');
  expect([none.status, none.stderr]).toEqual([2, expect.stringContaining('no good backup of database "nowhere"')]);
});

test.for(['backup shop', 'jobs watch 0000'])('L4: %s stops waiting for a host that is gone', async (words) => {
  const overdue = { state: 'lost', hostOnline: false, hostSeenAt: Date.UTC(2026, 0, 15), overdue: true } as const;
  const served = keep(await serve((_, asked) => (asked < 3 ? {} : overdue)));
  const args = words.replace('0000', jobIdOf(0)).split(' ');
  if (args[0] === 'jobs') await run(served.url, 'backup', 'shop', '--detach');
  const ran = await run(served.url, ...args);
  expect(ran.status).toBe(2);
  expect(ran.stderr).toContain('error AGENT_OFFLINE: host test/db-1 is offline (since 2026-01-15T00:00:00.000Z)');
  expect(ran.stderr).toContain(`lastgood jobs show ${jobIdOf(0)}`);
  expect(served.canceled).toEqual([]);
});

test('the exit status of a failed job is that of its code', async () => {
  const error = { code: 'HOST_LIMIT', message: `no${ESCAPE}`, remedy: 'ask' } as const;
  const served = keep(await serve(() => ({ state: 'failed', endedAt: 1, error })));
  const ran = await run(served.url, 'backup', 'shop');
  expect([ran.status, ran.stderr]).toEqual([3, expect.stringContaining('error HOST_LIMIT: no\\u001b]0;owned')]);
  expect(ran.stderr).not.toMatch(/^spoofed/m);
});

test.for([
  ['status'],
  ['targets', 'list'],
  ['backups', 'list'],
  ['backups', 'show', BACKUP_ID],
  ['audit', 'list'],
  ['verify', 'shop'],
  ['restore', 'shop', '--database', 'shop', '--to-new', 'x'],
])('terminal escapes and forged lines in what the server tells never reach the terminal: %j', async (args) => {
  const served = keep(args[0] === 'restore' ? await restoring() : await verified(true));
  for (const extra of [[], ['--json']]) {
    const ran = await run(served.url, ...extra, ...args);
    expect((ran.stdout + ran.stderr).replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
    expect(ran.stdout + ran.stderr).not.toMatch(/^spoofed/m);
    if (extra.length > 0) expect(JSON.parse(ran.stdout)).toBeTypeOf('object');
  }
});

test('a short id that fits two backups, none, or is shorter than 4 is refused and starts nothing', async () => {
  const served = keep(await idle());
  for (const [id, status, code] of [
    ['0b8f', 64, 'BAD_INPUT'],
    ['0b8', 64, 'BAD_INPUT'],
    ['ffff', 2, 'NOT_FOUND'],
  ] as const) {
    const ran = await run(served.url, '--json', 'verify', 'shop', id);
    expect([ran.status, JSON.parse(ran.stdout)]).toMatchObject([status, { error: { code } }]);
  }
  expect(served.created).toEqual([]);
});

test('a job and a token are named by a unique part of their id as well', async () => {
  const served = keep(await serve(() => ({ state: 'succeeded', endedAt: 1, result: null })));
  await run(served.url, 'backup', 'shop');
  const shown = await run(served.url, '--json', 'jobs', 'show', jobIdOf(0).slice(-8));
  expect([shown.status, JSON.parse(shown.stdout).job.jobId]).toEqual([0, jobIdOf(0)]);
  const short = await run(served.url, 'jobs', 'show', 'x');
  expect([short.status, short.stderr]).toEqual([64, expect.stringContaining('at least 4 characters')]);
  const none = await run(served.url, 'tokens', 'revoke', 'abcdef01');
  expect([none.status, none.stderr]).toEqual([2, expect.stringContaining('there is no token with the id "abcdef01"')]);
});

test('A23: a suspect backup ends with 4 and tells how to clear it', async () => {
  const suspect = { ...backup(BACKUP_ID, 2), state: 'suspect' as const };
  const result = { command: 'backup', backup: suspect, durationMs: 1 } as const;
  const served = keep(await serve(() => ({ state: 'succeeded', endedAt: 1, result })));
  const ran = await run(served.url, 'backup', 'shop');
  expect([ran.status, ran.stdout]).toEqual([
    4,
    expect.stringContaining(`lastgood verify test/db-1/shop ${BACKUP_ID.slice(-8)} --level 4`),
  ]);
});

test('a restore of the latest backup says which newer ones it passed over', async () => {
  const served = keep(await serve(() => ({ state: 'failed', endedAt: 1 }), { state: 'suspect' }));
  const ran = await run(served.url, 'restore', 'shop', '--database', 'shop', '--to-new', 'x');
  expect(ran.stderr).toContain(`passed over, the newest is ${BACKUP_ID.slice(-8)}`);
});

test('why a control plane could not be reached is said', async () => {
  expect((await run('http://127.0.0.1:1', 'hosts', 'list')).stderr).toMatch(/bad port|ECONNREFUSED/);
  expect((await run('http://no-such-host.invalid', 'hosts', 'list')).stderr).toMatch(/ENOTFOUND|EAI_AGAIN/);
});

test('a name that can be none is refused before it is sent', async () => {
  const served = keep(await serve(() => ({})));
  const ran = await run(served.url, 'backup', 'x'.repeat(100_000));
  expect([ran.status, served.created]).toEqual([64, []]);
  expect(ran.stderr.length).toBeLessThan(500);
});

test('a watch as JSON prints one line per change and the result last', async () => {
  const result: JobResult = { command: 'undo', into: 'shop', setAsideAs: 'x', durationMs: 1 };
  const progress = (asked: number): JobView['progress'] => ({
    jobId: jobIdOf(0),
    attempt: 1,
    phase: `phase ${Math.ceil(asked / 2)}`,
    doneBytes: 0,
    totalBytes: null,
    bytesPerSecond: 0,
    at: 0,
  });
  const served = keep(await serve((_, asked) => (asked < 5 ? { progress: progress(asked) } : done(result))));
  await run(served.url, 'backup', 'shop', '--detach');
  const ran = await run(served.url, '--json', 'jobs', 'watch', jobIdOf(0));
  const lines = ran.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ messageType, job }) => [messageType, job.progress?.phase])).toEqual([
    ['progress', 'phase 1'],
    ['progress', 'phase 2'],
    ['result', undefined],
  ]);
});

test('Ctrl-C ends the watching with 130, says how to cancel, and cancels nothing', async () => {
  const served = keep(await idle());
  const child = start(served.url, 'backup', 'shop');
  const stderr = child.stderr === null ? Promise.resolve('') : text(child.stderr);
  await expect.poll(served.asked, { timeout: 60_000 }).toBeGreaterThan(1);
  child.kill('SIGINT');
  const [status] = await once(child, 'close');
  expect([status, served.canceled]).toEqual([130, []]);
  expect(await stderr).toContain(`lastgood jobs cancel ${jobIdOf(0)}`);
});

test('Ctrl-C does not wait for a control plane that hangs', async () => {
  const hanging = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(hanging, 'listening');
  keep({ [Symbol.asyncDispose]: async () => void hanging.close().closeAllConnections() });
  const address = hanging.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const child = start(`http://127.0.0.1:${address.port}`, 'hosts', 'list');
  await once(hanging, 'request');
  child.kill('SIGINT');
  expect((await once(child, 'close'))[0]).toBe(130);
});

test('wrong use of a command points to the help of that command', async () => {
  const served = keep(await restoring());
  const ran = await run(served.url, 'tokens', 'create', 'ci');
  expect([ran.status, ran.stderr]).toEqual([64, expect.stringContaining("required option '--scope <scope>'")]);
  expect(ran.stderr).toContain('what to do: `lastgood tokens create --help` shows its arguments and options.');
});

test('wrong usage ends with 64, names what is near, and is JSON for scripts', async () => {
  const people = await run('http://127.0.0.1:1', 'bakup');
  expect([people.status, people.stdout]).toEqual([64, '']);
  expect(people.stderr).toBe(
    "error BAD_INPUT: unknown command 'bakup'\n  (Did you mean backup?)\nwhat to do: `lastgood --help` lists the commands.\n",
  );
  for (const args of [
    ['bakup'],
    ['backup'],
    ['backup', 'shop', '--digest'],
    ['jobs'],
    ['backups'],
    ['restore', 'shop', '--to-new'],
  ]) {
    const ran = await run('http://127.0.0.1:1', '--json', ...args);
    expect([ran.status, JSON.parse(ran.stdout)]).toMatchObject([64, { error: { code: 'BAD_INPUT' } }]);
  }
});

test('a reader that goes away ends the command quietly', async () => {
  const served = keep(await idle());
  const child = start(served.url, 'backups', 'list');
  child.stdout?.destroy();
  const stderr = child.stderr === null ? Promise.resolve('') : text(child.stderr);
  const [status] = await once(child, 'close');
  expect([status, await stderr]).toEqual([0, '']);
});

test('peer-F8: a redirect names the address to use, and the token is not sent there', async () => {
  const redirecting = createServer((_, response) => {
    response.writeHead(301, { location: 'https://lastgood.example.com/trpc/hosts' }).end();
  }).listen(0, '127.0.0.1');
  keep({ [Symbol.asyncDispose]: async () => void redirecting.close().closeAllConnections() });
  await once(redirecting, 'listening');
  const address = redirecting.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const ran = await run(`http://127.0.0.1:${address.port}`, 'hosts', 'list');
  expect(ran).toMatchObject({ status: 2, stderr: expect.stringContaining('error CONTROL_UNREACHABLE') });
  expect(ran.stderr).toContain('what to do: Put https://lastgood.example.com into --url or LASTGOOD_URL.');
});

test('the token of the environment is in no output of a failed call', async () => {
  for (const extra of [[], ['--json']]) {
    const ran = await run('http://127.0.0.1:1', ...extra, 'hosts', 'list');
    expect(ran.status).toBe(2);
    expect(ran.stdout + ran.stderr).toContain('CONTROL_UNREACHABLE');
    expect(ran.stdout + ran.stderr).not.toContain('secret-token');
  }
});

test('a daemon gets its own options, also those that the command line has too, and gives its exit status', async () => {
  const agent = await run(
    'http://127.0.0.1:1',
    'agent',
    'enroll',
    '--config',
    '/does/not/exist',
    '--url',
    'x',
    '--json',
  );
  expect([agent.status, agent.stderr]).toEqual([64, expect.stringContaining("Unknown option '--json'")]);
  const control = await run('http://127.0.0.1:1', 'control', '--port', '0');
  expect([control.status, control.stderr]).toEqual([64, expect.stringContaining('--data FOLDER is missing')]);
  expect((await run('http://127.0.0.1:1', 'agent', '--help')).stdout).toContain('lastgood agent check');
});

test('the completion is a script that bash runs, and knows commands, verbs and options', async () => {
  const { stdout } = await run('http://127.0.0.1:1', 'completion');
  const complete = (...words: string[]): string[] =>
    execFileSync(
      'bash',
      [
        '-c',
        `${stdout}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _lastgood; printf '%s\\n' "\${COMPREPLY[@]}"`,
        'bash',
        'lastgood',
        ...words,
      ],
      { encoding: 'utf8' },
    )
      .trim()
      .split('\n');
  expect(complete('ba')).toEqual(['backup', 'backups']);
  expect(complete('jobs', 'w')).toEqual(['watch']);
  expect(complete('restore', '--to')).toEqual(['--to-new', '--to-folder']);
});
