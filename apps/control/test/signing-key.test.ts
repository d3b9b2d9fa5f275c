import { expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';

test('attack-B10: the key that a host signs with is in the catalog, and its former one in the audit trail', async () => {
  await using bench = await ControlHarness.start();
  const identity = await bench.enroll();
  for (const signingKey of ['ed25519:first', 'ed25519:first', 'ed25519:second']) {
    const agent = await AgentSocket.connect(bench, identity, { signingKey });
    await agent.end();
  }
  expect(await bench.admin().hosts.query()).toMatchObject([{ signingKey: 'ed25519:second' }]);
  const trail = await bench.admin().audit.query({});
  expect(trail.filter(({ action }) => action === 'agent.signingKey')).toMatchObject([
    { subject: 'test/db-1', detail: 'ed25519:first' },
  ]);
});
