import { setTimeout as delay } from 'node:timers/promises';
import type { JobView } from '@lastgood/protocol';
import { type PostgresServer, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandLine, type Ran } from '../support/command-line.ts';
import { Fleet } from '../support/fleet.ts';
import { leavingsOf } from '../support/leftovers.ts';

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
const json = <T>(ran: Ran): T => {
  expect([ran.status, ran.stderr, ran.status === 0 ? '' : ran.stdout]).toEqual([0, '', '']);
  return JSON.parse(ran.stdout) as T;
};

test('backup, proof, copy, swap, undo and dry rotation, as the README tells them', async () => {
  const before = await orders('shop');
  const backup = await lastgood('backup', 'shop', '--database', 'shop', '--digests');
  expect(backup.status).toBe(0);
  expect(backup.stdout).toMatch(/^backup [0-9a-f-]{36}\n {2}databases {3}shop\n/);
  const proof = await lastgood('verify', 'shop', 'latest', '--level', '6');
  expect([proof.status, proof.stdout]).toEqual([0, expect.stringContaining('reached level 6 of 6')]);
  const copy = await lastgood('restore', 'shop', '--to-new', 'shop_copy');
  expect([copy.status, copy.stdout]).toEqual([0, expect.stringContaining('into "shop_copy"')]);
  expect(await orders('shop_copy')).toEqual(before);
  await server.query('shop', 'drop table orders cascade');
  const swapped = json<JobView>(await lastgood('--json', 'restore', 'shop', '--swap', '--confirm', 'shop'));
  expect(await orders('shop')).toEqual(before);
  const undone = await lastgood('undo', 'shop', swapped.jobId, '--confirm', 'shop');
  expect([undone.status, undone.stdout]).toEqual([0, expect.stringContaining('from before the restore again')]);
  await expect(orders('shop')).rejects.toThrow('orders');
  json(await lastgood('--json', 'restore', 'shop', '--swap', '--confirm', 'shop'));
  expect(await orders('shop')).toEqual(before);
  const dry = await lastgood('rotate', 'shop', '--keep-last', '1', '--dry-run');
  expect([dry.status, dry.stdout]).toEqual([0, expect.stringContaining('the last good backup')]);
  // The copy is a database of the server that no backup holds yet.
  const status = await lastgood('status');
  expect(status.status).toBe(4);
  expect(status.stdout).toMatch(/test\/db-1\/shop +shop +ok +.* level 6/);
  expect(status.stdout).toMatch(/test\/db-1\/shop +shop_copy +ok +NOWHERE/);
  expect((await lastgood('backup', 'shop')).status).toBe(0);
  expect((await lastgood('status')).status).toBe(0);
});

describe('a side that is killed with SIGKILL in the middle and started again', () => {
  test.for(['agent', 'control plane'] as const)(
    '%s: backup, verify and rotate from the command line end well',
    async (side) => {
      for (const args of [
        ['backup', 'shop', '--database', 'shop', '--digests'],
        ['verify', 'shop', '--level', '6'],
        ['rotate', 'shop', '--keep-last', '3', '--dry-run'],
      ]) {
        const since = Date.now();
        const running = lastgood('--json', ...args);
        await underWay(args[0] ?? '', since);
        if (side === 'agent') {
          await fleet.killAgent();
          await fleet.startAgent();
        } else {
          await fleet.killControl();
          await fleet.startControl();
        }
        const job = json<JobView>(await running);
        expect(job.state).toBe('succeeded');
        // The death of the control plane is nothing to a job that runs: it is not begun again.
        if (side === 'control plane') expect(job.attempt).toBe(1);
      }
      expect(await leavingsOf(fleet, server)).toEqual([]);
    },
  );

  test('agent: a swap restore that was under way is reported as interrupted, the data is whole, and it can be sent again', async () => {
    const before = await orders('shop');
    const since = Date.now();
    const running = lastgood('restore', 'shop', '--swap', '--confirm', 'shop');
    await underWay('restore', since);
    await fleet.killAgent();
    await fleet.startAgent();
    const ran = await running;
    // Whether the kill came before or after the swap, there is one whole database under the name.
    if (ran.status !== 0) expect([ran.status, ran.stderr]).toEqual([2, expect.stringContaining('JOB_INTERRUPTED')]);
    expect(await orders('shop')).toEqual(before);
    expect((await lastgood('restore', 'shop', '--swap', '--confirm', 'shop')).status).toBe(0);
    expect(await orders('shop')).toEqual(before);
  });

  test.for(['agent', 'control plane'] as const)(
    '%s: a restore to a new name and an undo end honestly, leave whole databases and nothing half-made',
    async (side) => {
      const killAndStart = async (): Promise<void> => {
        if (side === 'agent') {
          await fleet.killAgent();
          await fleet.startAgent();
        } else {
          await fleet.killControl();
          await fleet.startControl();
        }
      };
      const honest = (ran: Ran): void => {
        if (side === 'control plane') expect(ran.status).toBe(0);
        else if (ran.status !== 0)
          expect([ran.status, ran.stderr]).toEqual([2, expect.stringContaining('JOB_INTERRUPTED')]);
      };
      const before = await orders('shop');
      const copy = `copy_${side.slice(0, 5)}`;
      let since = Date.now();
      let running = lastgood('restore', 'shop', '--to-new', copy);
      await underWay('restore', since);
      await killAndStart();
      const copied = await running;
      honest(copied);
      if (copied.status !== 0) expect((await lastgood('restore', 'shop', '--to-new', copy)).status).toBe(0);
      expect(await orders(copy)).toEqual(before);

      const swapped = json<JobView>(await lastgood('--json', 'restore', 'shop', '--swap', '--confirm', 'shop'));
      since = Date.now();
      running = lastgood('undo', 'shop', swapped.jobId, '--confirm', 'shop');
      await underWay('undo', since);
      await killAndStart();
      honest(await running);
      expect(await orders('shop')).toEqual(before);
      await fleet.untilOnline();
      expect((await lastgood('restore', 'shop', '--swap', '--confirm', 'shop')).status).toBe(0);
      expect(await orders('shop')).toEqual(before);
      expect(await leavingsOf(fleet, server)).toEqual([]);
    },
  );

  test('control plane: a swap restore goes on without it, and the command line hears of its end', async () => {
    const before = await orders('shop');
    const since = Date.now();
    const running = lastgood('--json', 'restore', 'shop', '--swap', '--confirm', 'shop');
    await underWay('restore', since);
    await fleet.killControl();
    await fleet.startControl();
    const restored = json<JobView>(await running);
    expect(await orders('shop')).toEqual(before);
    await fleet.untilOnline();
    expect((await lastgood('undo', 'shop', restored.jobId, '--confirm', 'shop')).status).toBe(0);
  });
});

const BEFORE = new Set(['queued', 'dispatched', 'accepted']);
/** Waits until the newest job is that command and runs. */
async function underWay(command: string, since: number): Promise<void> {
  for (let attempt = 0; attempt < 2_000; attempt += 1) {
    const [newest] = await fleet.client.jobs.query({ limit: 1 }).catch(() => []);
    if (newest?.command === command && !BEFORE.has(newest.state) && newest.createdAt >= since) return;
    await delay(5);
  }
  throw new Error(`no ${command} came under way`);
}

describe('bad input is refused with a code, changes nothing and starts nothing', () => {
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
    [['job', 'show', 'x'], 64, 'BAD_INPUT'],
    [['tokens', 'create', 'ci', '--scope', 'root'], 64, 'BAD_INPUT'],
    [['--token-file', '/does/not/exist', 'hosts'], 2, 'UNAUTHENTICATED'],
    [['--url', 'http://127.0.0.1:1', 'hosts'], 2, 'CONTROL_UNREACHABLE'],
    [['--url', 'ftp://x', 'hosts'], 64, 'BAD_INPUT'],
  ];
  test.for(refused)('lastgood %j ends with %i %s', async ([args, status, code]) => {
    const before = (await fleet.client.jobs.query({ limit: 1000 })).length;
    const ran = await lastgood('--json', ...args);
    expect([ran.status, JSON.parse(ran.stdout)]).toEqual([
      status,
      { error: { code, message: expect.any(String), remedy: expect.any(String) } },
    ]);
    expect((await fleet.client.jobs.query({ limit: 1000 })).length).toBe(before);
  });

  test('F1: a swap that nobody confirmed, or confirmed with another name, changes nothing', async () => {
    const before = await orders('shop');
    for (const confirm of [[], ['--confirm', 'Shop']]) {
      const ran = await lastgood('restore', 'shop', '--swap', ...confirm);
      expect([ran.status, ran.stderr]).toEqual([3, expect.stringContaining('NOT_CONFIRMED')]);
    }
    expect(await orders('shop')).toEqual(before);
  });

  test('an unknown command is wrong usage, with a suggestion', async () => {
    const ran = await lastgood('bakup');
    expect([ran.status, ran.stderr]).toEqual([64, expect.stringContaining('Did you mean backup?')]);
  });
});

test('a token with a small scope sees, and may do no more', async () => {
  const { token } = json<{ token: string }>(await lastgood('--json', 'tokens', 'create', 'viewer', '--scope', 'read'));
  const viewer = commandLine({ url: fleet.url, token });
  expect((await viewer('hosts')).status).toBe(0);
  expect((await viewer('--json', 'backup', 'shop')).stdout).toContain('FORBIDDEN');
  expect((await viewer('--json', 'tokens', 'list')).stdout).toContain('FORBIDDEN');
  const { id } = json<{ id: string; name: string }[]>(await lastgood('--json', 'tokens')).find(
    (entry) => entry.name === 'viewer',
  ) ?? { id: '' };
  expect((await lastgood('tokens', 'revoke', id)).status).toBe(0);
  expect((await viewer('--json', 'hosts')).stdout).toContain('UNAUTHENTICATED');
  expect((await lastgood('audit')).stdout).toMatch(/admin +token.revoke +viewer/);
});
