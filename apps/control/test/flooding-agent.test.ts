import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import {
  type AdminClient,
  aBackupSummary,
  adminClient,
  freePort,
  root,
  someDatabases,
  startProcess,
  temporaryFolder,
  waitFor,
} from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { enrollment, headersOf, type Identity } from './support/control-harness.ts';

const forever = new AbortController().signal;
const cleanup = new AsyncDisposableStack();
let url: string;
let client: AdminClient;

/** The control plane is a process of its own, so that its event loop is not that of the test. */
beforeAll(async () => {
  const { path } = cleanup.use(await temporaryFolder());
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const program = join(root, 'apps/control/src/main.ts');
  cleanup.use(
    await startProcess('control', [program, '--data', join(path, 'control'), '--port', String(port)], undefined),
  );
  await waitFor('the control plane', 60_000, forever, async () =>
    (await fetch(`${url}/healthz`).catch(() => undefined))?.ok ? true : undefined,
  );
  client = await adminClient(url, join(path, 'control', 'admin.token'));
});
afterAll(() => cleanup.disposeAsync());

async function connect(host: string): Promise<AgentSocket> {
  const { token } = await client.createEnrollToken.mutate({ environment: 'test', host, expiresInHours: 1 });
  const { body, key } = enrollment(token, host);
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/enroll`, { method: 'POST', headers, body: JSON.stringify(body) });
  const { agentId } = (await response.json()) as { agentId: string };
  const identity: Identity = { agentId, installId: body.installId, key, publicKey: body.publicKey };
  const agent = new AgentSocket(url, headersOf(identity, Date.now()));
  await once(agent.socket, 'open');
  await agent.hello(Date.now());
  await agent.announce('shop');
  return agent;
}
const target = (name: string) => ({
  ...{ name, engine: 'postgres', labels: {}, repository: 'local', state: 'ok', version: '15.18' },
  ...{ systemId: null, sizeBytes: 1, databases: [], findings: [] },
});
/** As many invented backups, or databases of one backup, as fit into a frame. */
const manyDatabases = () => [
  aBackupSummary({ contents: someDatabases(...Array.from({ length: 3_200 }, () => randomUUID())) }),
];
const manyBackups = () => Array.from({ length: 300 }, () => aBackupSummary());

/** The slowest answer of a call that is repeated until `isOver`, in milliseconds. */
async function slowest(call: () => Promise<unknown>, isOver: () => boolean): Promise<number> {
  let worst = 0;
  while (!isOver()) {
    const sentAt = performance.now();
    await call();
    worst = Math.max(worst, performance.now() - sentAt);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return worst;
}

test('attack-B3, attack-B12: while one agent invents backups without end, the others and people are served', async () => {
  const [bad, good] = [await connect('bad'), await connect('good')];
  const FRAMES = 44;
  const answers = Array.from({ length: FRAMES }, async (_, n) => {
    const backups = n % 2 === 0 ? manyDatabases() : manyBackups();
    return await bad.call('inventory', bad.session({ hash: randomUUID(), targets: [target('shop')], backups }));
  });
  let over = false;
  const flooded = Promise.all(answers).then((replies) => {
    over = true;
    expect(replies.filter((reply) => reply?.result === undefined)).toEqual([]);
  });
  const beat = { ackSeq: 0, progress: [], running: [], outboxDepth: 0 };
  const [health, heartbeat, status] = await Promise.all([
    slowest(
      () => fetch(`${url}/healthz`),
      () => over,
    ),
    slowest(
      () => good.call('heartbeat', good.session(beat)),
      () => over,
    ),
    slowest(
      () => client.status.query({ target: 'test/good/shop' }),
      () => over,
    ),
    flooded,
  ]);
  // Wide limits for a busy machine: without the quotas nobody was served for as long as the flood lasted.
  expect(health).toBeLessThan(8_000);
  expect(heartbeat).toBeLessThan(8_000);
  expect(status).toBeLessThan(10_000);
  const all = await client.status.query({});
  const flooder = all.find(({ host }) => host === 'bad');
  expect(flooder?.databases.length).toBeLessThanOrEqual(2_000);
  expect(all.find(({ host }) => host === 'good')).toBeDefined();
  await bad.end();
  await good.end();
});
