import { randomUUID } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobSpec } from '@lastgood/protocol';
import { ScriptedControl, seedShop, startPostgres, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';

const forever = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
const backup: JobSpec = { command: 'backup', target: 'shop', method: null, contents: ['shop'], options: {} };
let fleet: Fleet;

beforeAll(async () => {
  const server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 10 });
  const { path } = cleanup.use(await temporaryFolder());
  fleet = cleanup.use(await Fleet.start(path, server.connection));
});
afterAll(() => cleanup.disposeAsync());

/** Runs `attack` with a hostile server at the address of the control plane, then expects a backup from the control plane itself. */
async function duringAttack(attack: (hostile: ScriptedControl) => Promise<void>): Promise<void> {
  const pid = fleet.agentPid;
  await fleet.killControl();
  {
    await using hostile = await ScriptedControl.open(Number(new URL(fleet.url).port));
    await attack(hostile);
  }
  await fleet.startControl();
  await waitFor('the agent to come back', 60_000, forever, async () => {
    process.kill(pid, 'SIGHUP');
    return (await fleet.client.hosts.query({})).some(({ state }) => state === 'online') ? true : undefined;
  });
  expect(await fleet.run(backup)).toMatchObject({ state: 'succeeded', attempt: 1 });
  expect(fleet.agentPid).toBe(pid);
  process.kill(pid, 0);
}
/** Lets the agent dial without its backoff, until it has sent `count` hellos. */
async function untilHellos(hostile: ScriptedControl, count: number): Promise<void> {
  await waitFor(`${count} hellos`, 60_000, forever, async () => {
    process.kill(fleet.agentPid, 'SIGHUP');
    return hostile.count('hello') >= count ? true : undefined;
  });
}

test('attack-B1: no frame of a hostile server ends the agent, and the control plane can back up afterwards', async () => {
  const frames: ((id: number) => unknown)[] = [
    (id) => ({ id }),
    (id) => ({ id, result: null }),
    (id) => ({ id, result: 'x' }),
    (id) => ({ id, error: null }),
    (id) => ({ id, error: 'x' }),
    () => ({ id: 4_711 }),
    () => ({ id: null, error: {} }),
    () => ({ method: 'reconnect' }),
    (id) => ({ id, method: 'constructor' }),
    (id) => ({ id: { toString: id }, result: {} }),
  ];
  await duringAttack(async (hostile) => {
    let next = 0;
    hostile.frames = ({ id }) => {
      const frame = frames[next % frames.length];
      next += 1;
      return [JSON.stringify(frame?.(id) ?? null)];
    };
    await untilHellos(hostile, frames.length);
  });
});

test('attack-B2: no answer to a hello keeps the agent from its control plane', async () => {
  const answers: object[] = [
    ...['x', {}, -5, 1.5, 1e300, true, 2 ** 53 - 1, 2 ** 48].map((baseSeq) => ({ merged: { baseSeq } })),
    { reset: { seq: 2 ** 52, jobs: [] } },
    ...[{}, 'x'.repeat(220_000), null].map((incarnation) => ({ incarnation })),
    ...['abc', 1e15, -1].map((controlClock) => ({ controlClock })),
    { spreadMs: 2 ** 31 - 1 },
  ];
  await duringAttack(async (hostile) => {
    hostile.answers['hello'] = () => ({
      ...{ sessionId: 's', epoch: 1, incarnation: 'hostile', protocol: 1, controlClock: Date.now() },
      ...{ heartbeatMs: 15_000, leaseMs: 90_000, spreadMs: 0, merged: null, reset: null },
      ...answers[(hostile.count('hello') - 1) % answers.length],
    });
    hostile.subscribed = (channel) => channel.cut();
    await untilHellos(hostile, answers.length);
  });
});

test('attack-B7: jobs of unknown commands with large specs do not fill the disk of the host', async () => {
  const COMMANDS = 300;
  const folder = join(fleet.folder, 'agent');
  const sizeOf = async (): Promise<number> => {
    const files = await readdir(folder, { withFileTypes: true });
    const sizes = files.filter((file) => file.isFile()).map(async ({ name }) => (await stat(join(folder, name))).size);
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  };
  const before = await sizeOf();
  await duringAttack(async (hostile) => {
    let channel: { send(command: unknown): void } | undefined;
    let seq = 0;
    const send = (): void => {
      seq += 1;
      const spec = { command: 'teleport', target: 'shop', payload: 'x'.repeat(200_000) };
      const times = { createdAt: Date.now(), startBy: Date.now() + 3_600_000, deadlineMs: 1_000 };
      const origin = { kind: 'command', by: 'x' };
      channel?.send({ seq, type: 'job.start', jobId: randomUUID(), attempt: 1, spec, origin, ...times });
    };
    hostile.subscribed = (opened) => {
      channel = opened;
      seq = Number(hostile.last('hello')?.['lastSeq']);
      send();
    };
    hostile.answers['ack'] = () => {
      send();
      return {};
    };
    await untilHellos(hostile, 1);
    await waitFor('all commands', 120_000, forever, async () => (hostile.count('ack') >= COMMANDS ? true : undefined));
  });
  expect((await sizeOf()) - before).toBeLessThan(8 * 1024 * 1024);
});
