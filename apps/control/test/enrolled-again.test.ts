import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import type { WebSocket } from 'ws';
import type { AgentRecord } from '../src/catalog/agents.ts';
import type { Catalog } from '../src/catalog/catalog.ts';
import { openSqliteCatalog } from '../src/catalog/sqlite-catalog.ts';
import { LedgerStore } from '../src/dispatch/ledger-store.ts';
import { CONTROL_LIMITS } from '../src/limits.ts';
import { AgentRates } from '../src/sessions/agent-rates.ts';
import { AgentRegistry } from '../src/sessions/agent-registry.ts';
import { Session } from '../src/sessions/session.ts';
import { helloInput } from './support/agent-socket.ts';
import { StandingClock } from './support/control-harness.ts';

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const agentId = '00000000-0000-7000-8000-000000000001';
const OLD: AgentRecord = {
  ...{ agentId, installId: 'old', environment: 'test', host: 'db-1', labels: {}, publicKey: 'OLD' },
  ...{ enrolledAt: 1, agentVersion: null, signingKey: null, lastSeenAt: null, quarantinedAt: null },
};
const NEW: AgentRecord = { ...OLD, installId: 'new', publicKey: 'NEW', enrolledAt: 2 };

/** A connection that is open until it is cut. */
class Line extends EventEmitter {
  readonly OPEN = 1;
  readyState = 1;
  close(): void {
    this.readyState = 3;
  }
  terminate(): void {
    this.readyState = 3;
  }
  cut(): void {
    this.readyState = 3;
    this.emit('close');
  }
}

/** A registry over a real catalog, where something may happen at the very moment in which a commit is queued. */
async function openRegistry(file: string) {
  const clock = new StandingClock();
  const catalog = await openSqliteCatalog(file);
  const commit = catalog.commit.bind(catalog);
  let meanwhile: (() => void) | undefined;
  const watched: Catalog = Object.assign(catalog, {
    commit: async (changes: Parameters<Catalog['commit']>[0]): Promise<void> => {
      const queued = commit(changes);
      const happen = meanwhile;
      meanwhile = undefined;
      happen?.();
      await queued;
    },
  });
  const ledgers = await LedgerStore.open(watched, clock);
  const registry = await AgentRegistry.open(watched, ledgers, clock, quiet);
  const rates = new AgentRates(CONTROL_LIMITS.agentRates, clock);
  const parts = { registry, ledgers, catalog: watched, clock, limits: CONTROL_LIMITS, rates };
  const connect = (): { line: Line; session: Session } => {
    const line = new Line();
    const who = { agentId, connection: registry.nextConnection() };
    const session = new Session(who, line as unknown as WebSocket, parts);
    return { line, session };
  };
  return {
    registry,
    connect,
    hello: (instanceId: string) => helloInput(clock.now(), { instanceId }),
    /** Does this as soon as the next commit is queued, so that it is queued behind it. */
    duringNextCommit: (work: () => void): void => {
      meanwhile = work;
    },
    async close(): Promise<AgentRecord | undefined> {
      registry.close();
      // What was queued before is written.
      await commit([]);
      const [stored] = await catalog.agents.list();
      await catalog.close();
      return stored;
    },
  };
}

test('J4: the key of a host that is enrolled again stays, though the old agent goes away in that very moment', async () => {
  await using folder = await temporaryFolder();
  const bench = await openRegistry(join(folder.path, 'catalog.sqlite'));
  await bench.registry.enroll(OLD, [{ type: 'agent.enroll', agent: OLD }]);
  const { line, session } = bench.connect();
  await session.hello(bench.hello('00000000-0000-4000-8000-000000000001'));
  bench.duringNextCommit(() => line.cut());
  await bench.registry.enroll(NEW, [{ type: 'agent.enroll', agent: NEW }]);
  const inMemory = bench.registry.agent(agentId);
  expect(inMemory).toMatchObject({ installId: 'new', publicKey: 'NEW', agentVersion: '0.1.0' });
  expect(inMemory?.lastSeenAt).not.toBeNull();
  expect(await bench.close()).toEqual(inMemory);
});

test('J4: a host stays quarantined, though an agent of it goes away in that very moment', async () => {
  await using folder = await temporaryFolder();
  const bench = await openRegistry(join(folder.path, 'catalog.sqlite'));
  await bench.registry.enroll(OLD, [{ type: 'agent.enroll', agent: OLD }]);
  const [original, clone] = ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'];
  await bench.connect().session.hello(bench.hello(original));
  const { line, session } = bench.connect();
  await session.hello(bench.hello(clone));
  bench.duringNextCommit(() => line.cut());
  await expect(bench.connect().session.hello(bench.hello(original))).rejects.toMatchObject({ code: 'FORBIDDEN' });
  const inMemory = bench.registry.agent(agentId);
  expect(inMemory?.quarantinedAt).not.toBeNull();
  expect(await bench.close()).toEqual(inMemory);
});
