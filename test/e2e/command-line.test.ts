import { setTimeout as delay } from 'node:timers/promises';
import type { JobView } from '@lastgood/protocol';
import { type PostgresServer, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandLine, type Ran } from '../support/command-line.ts';
import { Fleet } from '../support/fleet.ts';
import { findLeftovers } from '../support/leftovers.ts';

const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let fleet: Fleet;
let lastgood: (...args: string[]) => Promise<Ran>;

beforeAll(async () => {
  server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 2_000 });
  const folder = cleanup.use(await temporaryFolder());
  fleet = cleanup.use(await Fleet.start(folder.path, server.connection));
  lastgood = commandLine(fleet);
});
afterAll(() => cleanup.disposeAsync());

const orders = (database: string): Promise<unknown> =>
  server.query(
    database,
    "select count(*) as n, md5(string_agg(md5(o::text), '' order by md5(o::text))) as d from orders o",
  );
/** The document of a command that succeeded. */
const parseOutput = <T>(ran: Ran): T => {
  expect([ran.status, ran.stderr, ran.status === 0 ? '' : ran.stdout]).toEqual([0, '', '']);
  return JSON.parse(ran.stdout) as T;
};

test('runs the README workflow: backup, verify, restore to a copy, swap, undo and a dry run of rotate', async () => {
  const before = await orders('shop');
  const backup = await lastgood('backup', 'shop', '--database', 'shop', '--digests');
  expect(backup.status).toBe(0);
  expect(backup.stdout).toMatch(/^backup [0-9a-f-]{36}\n {2}contents {4}shop\n/);
  const verified = await lastgood('verify', 'shop', 'latest', '--level', '6');
  expect([verified.status, verified.stdout]).toEqual([0, expect.stringContaining('reached level 6 of 6')]);
  const copy = await lastgood('restore', 'shop', '--to-new', 'shop_copy');
  expect([copy.status, copy.stdout]).toEqual([0, expect.stringContaining('into "shop_copy"')]);
  expect(await orders('shop_copy')).toEqual(before);
  await server.query('shop', 'drop table orders cascade');
  const { job: swapped } = parseOutput<{ job: JobView }>(
    await lastgood('--json', 'restore', 'shop', '--swap', '--confirm', 'shop'),
  );
  expect(await orders('shop')).toEqual(before);
  const undone = await lastgood('undo', 'shop', swapped.jobId, '--confirm', 'shop');
  expect([undone.status, undone.stdout]).toEqual([0, expect.stringContaining('from before the restore again')]);
  await expect(orders('shop')).rejects.toThrow('orders');
  parseOutput(await lastgood('--json', 'restore', 'shop', '--swap', '--confirm', 'shop'));
  expect(await orders('shop')).toEqual(before);
  const dry = await lastgood('rotate', 'shop', '--keep-last', '1', '--dry-run');
  expect([dry.status, dry.stdout]).toEqual([0, expect.stringContaining('the last good backup')]);
  // No backup contains the copy yet, and none has to.
  const status = await lastgood('status');
  expect([status.status, status.stdout]).toEqual([0, expect.stringMatching(/shop +shop +protected +.* level 6/)]);
  expect(status.stdout).toMatch(/shop +shop_copy \(restored from shop\) +pending +none/);
  expect((await lastgood('backup', 'shop')).status).toBe(0);
  const untested = await lastgood('status');
  expect([untested.status, untested.stdout]).toEqual([
    4,
    expect.stringMatching(/shop +shop +at risk .*of older backup/),
  ]);
  expect((await lastgood('verify', 'shop', '--level', '4')).status).toBe(0);
  expect((await lastgood('status')).status).toBe(0);
});

describe('jobs while a process is killed with SIGKILL and restarted', () => {
  test.for(['agent', 'control plane'] as const)(
    '%s: backup, verify and rotate succeed from the command line',
    async (killed) => {
      for (const args of [
        ['backup', 'shop', '--database', 'shop', '--digests'],
        ['verify', 'shop', '--level', '6'],
        ['rotate', 'shop', '--keep-last', '3', '--dry-run'],
      ]) {
        const since = Date.now();
        const running = lastgood('--json', ...args);
        await untilRunning(args[0] ?? '', since);
        if (killed === 'agent') {
          await fleet.killAgent();
          await fleet.startAgent();
        } else {
          await fleet.killControl();
          await fleet.startControl();
        }
        const { job } = parseOutput<{ job: JobView }>(await running);
        expect(job.state).toBe('succeeded');
        // A running job continues without the control plane: there is no second attempt.
        if (killed === 'control plane') expect(job.attempt).toBe(1);
      }
      expect(await findLeftovers(fleet, server)).toEqual([]);
    },
  );

  test('agent: a swap restore is reported as interrupted, the data is intact, and a new restore succeeds', async () => {
    const before = await orders('shop');
    const since = Date.now();
    const running = lastgood('restore', 'shop', '--swap', '--confirm', 'shop');
    await untilRunning('restore', since);
    await fleet.killAgent();
    await fleet.startAgent();
    const ran = await running;
    // The kill may come before or after the swap. In both cases the database is intact.
    if (ran.status !== 0) expect([ran.status, ran.stderr]).toEqual([2, expect.stringContaining('JOB_INTERRUPTED')]);
    expect(await orders('shop')).toEqual(before);
    expect((await lastgood('restore', 'shop', '--swap', '--confirm', 'shop')).status).toBe(0);
    expect(await orders('shop')).toEqual(before);
  });

  test.for(['agent', 'control plane'] as const)(
    '%s: a restore to a new name and an undo report their outcome, keep databases intact and leave no leftovers',
    async (killed) => {
      const killAndStart = async (): Promise<void> => {
        if (killed === 'agent') {
          await fleet.killAgent();
          await fleet.startAgent();
        } else {
          await fleet.killControl();
          await fleet.startControl();
        }
      };
      const expectOutcome = (ran: Ran): void => {
        if (killed === 'control plane') expect(ran.status).toBe(0);
        else if (ran.status !== 0)
          expect([ran.status, ran.stderr]).toEqual([2, expect.stringContaining('JOB_INTERRUPTED')]);
      };
      const before = await orders('shop');
      const copy = `copy_${killed.slice(0, 5)}`;
      let since = Date.now();
      let running = lastgood('restore', 'shop', '--to-new', copy);
      await untilRunning('restore', since);
      await killAndStart();
      const copied = await running;
      expectOutcome(copied);
      if (copied.status !== 0) expect((await lastgood('restore', 'shop', '--to-new', copy)).status).toBe(0);
      expect(await orders(copy)).toEqual(before);

      const { job: swapped } = parseOutput<{ job: JobView }>(
        await lastgood('--json', 'restore', 'shop', '--swap', '--confirm', 'shop'),
      );
      since = Date.now();
      running = lastgood('undo', 'shop', swapped.jobId, '--confirm', 'shop');
      await untilRunning('undo', since);
      await killAndStart();
      expectOutcome(await running);
      expect(await orders('shop')).toEqual(before);
      await fleet.untilOnline();
      expect((await lastgood('restore', 'shop', '--swap', '--confirm', 'shop')).status).toBe(0);
      expect(await orders('shop')).toEqual(before);
      expect(await findLeftovers(fleet, server)).toEqual([]);
    },
  );

  test('control plane: a swap restore continues without it, and the command line reports its outcome', async () => {
    const before = await orders('shop');
    const since = Date.now();
    const running = lastgood('--json', 'restore', 'shop', '--swap', '--confirm', 'shop');
    await untilRunning('restore', since);
    await fleet.killControl();
    await fleet.startControl();
    const { job: restored } = parseOutput<{ job: JobView }>(await running);
    expect(await orders('shop')).toEqual(before);
    await fleet.untilOnline();
    expect((await lastgood('undo', 'shop', restored.jobId, '--confirm', 'shop')).status).toBe(0);
  });
});

const NOT_RUNNING = new Set(['queued', 'dispatched', 'accepted']);
/** Waits until the newest job has this command and is running. */
async function untilRunning(command: string, since: number): Promise<void> {
  for (let attempt = 0; attempt < 2_000; attempt += 1) {
    const [newest] = await fleet.client.jobs.query({ limit: 1 }).catch(() => []);
    if (newest?.command === command && !NOT_RUNNING.has(newest.state) && newest.createdAt >= since) return;
    await delay(5);
  }
  throw new Error(`${command} did not start`);
}

describe('bad input is refused with a code and starts no job', () => {
  const refused: [string[], number, string][] = [
    [['backup', 'nowhere'], 2, 'NOT_FOUND'],
    [['backup', '../etc'], 64, 'BAD_INPUT'],
    [['verify', 'shop', 'latest', '--level', '7'], 64, 'BAD_INPUT'],
    [['verify', 'shop', 'no-such-backup'], 2, 'NOT_FOUND'],
    [['rotate', 'shop', '--keep-last', '0', '--dry-run'], 64, 'BAD_INPUT'],
    [['rotate', 'shop', '--keep-within', '7', '--dry-run'], 64, 'BAD_INPUT'],
    [['rotate', 'shop', '--keep-last', '1'], 3, 'NOT_CONFIRMED'],
    [['restore', 'shop'], 64, 'BAD_INPUT'],
    [['restore', 'shop', '--swap', '--to-new', 'x'], 64, 'BAD_INPUT'],
    [['restore', 'shop', '--to-new', 'a'.repeat(64)], 64, 'BAD_INPUT'],
    [['jobs', 'show', 'x'], 64, 'BAD_INPUT'],
    [['tokens', 'create', 'ci', '--scope', 'root'], 64, 'BAD_INPUT'],
    [['--token-file', '/does/not/exist', 'hosts', 'list'], 2, 'UNAUTHENTICATED'],
    [['--url', 'http://127.0.0.1:1', 'hosts', 'list'], 2, 'CONTROL_UNREACHABLE'],
    [['--url', 'ftp://x', 'hosts', 'list'], 64, 'BAD_INPUT'],
  ];
  test.for(refused)('lastgood %j exits with %i and %s', async ([args, status, code]) => {
    const before = (await fleet.client.jobs.query({ limit: 1000 })).length;
    const ran = await lastgood('--json', ...args);
    expect([ran.status, JSON.parse(ran.stdout)]).toEqual([
      status,
      { version: 1, error: { code, message: expect.any(String), remedy: expect.any(String) } },
    ]);
    expect((await fleet.client.jobs.query({ limit: 1000 })).length).toBe(before);
  });

  test('F1: a swap without confirmation, or confirmed with another name, changes nothing', async () => {
    const before = await orders('shop');
    for (const confirm of [[], ['--confirm', 'Shop']]) {
      const ran = await lastgood('restore', 'shop', '--swap', ...confirm);
      expect([ran.status, ran.stderr]).toEqual([3, expect.stringContaining('NOT_CONFIRMED')]);
    }
    expect(await orders('shop')).toEqual(before);
  });

  test('rejects an unknown command and suggests a similar one', async () => {
    const ran = await lastgood('bakup');
    expect([ran.status, ran.stderr]).toEqual([64, expect.stringContaining('Did you mean backup?')]);
  });
});

test('a read token may query and do nothing else', async () => {
  const { secret: token } = parseOutput<{ secret: string }>(
    await lastgood('--json', 'tokens', 'create', 'viewer', '--scope', 'read'),
  );
  const viewer = commandLine({ url: fleet.url, token });
  expect((await viewer('hosts', 'list')).status).toBe(0);
  expect((await viewer('--json', 'backup', 'shop')).stdout).toContain('FORBIDDEN');
  expect((await viewer('--json', 'tokens', 'list')).stdout).toContain('FORBIDDEN');
  const { id } = parseOutput<{ tokens: { id: string; name: string }[] }>(
    await lastgood('--json', 'tokens', 'list'),
  ).tokens.find((entry) => entry.name === 'viewer') ?? { id: '' };
  expect((await lastgood('tokens', 'revoke', id)).status).toBe(0);
  expect((await viewer('--json', 'hosts', 'list')).stdout).toContain('UNAUTHENTICATED');
  expect((await lastgood('audit', 'list')).stdout).toMatch(/admin +token.revoke +viewer/);
});
