/** Repeats the main job with the bundled agent that `npm run build` creates. */
import { aRestoreRequest, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { afterAll, expect, test } from 'vitest';
import { Fleet } from '../support/fleet.ts';
import { memoryOf } from '../support/process-memory.ts';

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

test('the built agent backs up, verifies at level 6, restores by swap and undoes the swap', async () => {
  const server = cleanup.use(await startPostgres());
  await seedShop(server, 'shop', { rows: 500 });
  const { path } = cleanup.use(await temporaryFolder());
  const fleet = cleanup.use(await Fleet.start(path, server.connection, { builtAgent: true }));
  // What loads a source map or the S3 client into each agent is far above this; docs/performance.md has the exact figures.
  expect((await memoryOf(fleet.agentPid)).privateBytes).toBeLessThan(80 * 2 ** 20);
  const backup = await fleet.run({
    command: 'backup',
    target: 'shop',
    method: null,
    contents: ['shop'],
    options: { digests: true },
  });
  if (backup.result?.command !== 'backup') throw new TypeError(JSON.stringify(backup.error));
  const { backupId } = backup.result.backup;
  for (const level of [4, 6] as const) {
    const verified = await fleet.run({ command: 'verify', target: 'shop', backupId, level });
    expect(verified).toMatchObject({ state: 'succeeded', result: { passed: true, reached: level, findings: [] } });
  }
  const mode = { way: 'swap', database: 'shop' } as const;
  const planned = await fleet.run({ command: 'plan', target: 'shop', request: aRestoreRequest(backupId, mode) });
  if (planned.result?.command !== 'plan') throw new TypeError(JSON.stringify(planned.error));
  const { hash } = planned.result.plan;
  const restored = await fleet.run({
    command: 'restore',
    target: 'shop',
    request: aRestoreRequest(backupId, mode),
    planHash: hash,
  });
  expect(restored.state).toBe('succeeded');
  const undone = await fleet.run({ command: 'undo', target: 'shop', restoreJobId: restored.jobId });
  expect(undone).toMatchObject({ state: 'succeeded', error: null });
});
