import type { LogStream } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { temporaryFolder } from '@lastgood/testkit';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { Target } from '../src/jobs/targets.ts';
import { SupervisedStream } from '../src/streams/supervised-stream.ts';

const ref = { environment: 'test', host: 'db-1', target: 'shop' };

test('I10: what an earlier run left in a log is swept before the stream stores its segments', async () => {
  await using folder = await temporaryFolder();
  const events: string[] = [];
  const sweep = async (graceMs: number): Promise<string[]> => {
    events.push(`sweep ${graceMs / 60_000}`);
    return ['a leftover'];
  };
  const repository = { log: () => ({ sweep }) };
  const target = { name: 'shop', ref, repository: async () => repository } as unknown as Target;
  const stream = {
    id: '1',
    isEnabled: true,
    checkEveryMs: 60_000,
    run: async ({ signal }: { readonly signal: AbortSignal }): Promise<never> => {
      events.push('run');
      return await new Promise<never>((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
      );
    },
    check: async () => ({ findings: [], report: {} }),
  } as unknown as LogStream;
  const parts = {
    ...{ dataDir: folder.path, clock: systemClock, random: () => 0, log: pino({ level: 'silent' }) },
    onChange: () => undefined,
  };
  const supervised = new SupervisedStream(target, stream, parts);
  await expect.poll(() => events, { timeout: 60_000 }).toContain('run');
  await supervised.stop();
  expect(events).toEqual(['sweep 10', 'run']);
});
