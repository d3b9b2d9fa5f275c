import { expect, test } from 'vitest';
import { SerialQueue } from '../src/serial-queue.ts';

test('E9: a folder that does not answer is opened once, later calls are refused at once, and it is opened again after it answered', async () => {
  const openings = new SerialQueue(20);
  const { promise, resolve } = Promise.withResolvers<string>();
  let asked = 0;
  const open = (): Promise<string> => {
    asked += 1;
    return asked === 1 ? promise : Promise.resolve('later');
  };
  const all = await Promise.allSettled(['a', 'b', 'c'].map(() => openings.run('/dead', open)));
  expect(all.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect([asked, openings.unresponsive]).toEqual([1, ['/dead']]);
  expect(await openings.run('/well', async () => 'well')).toBe('well');
  resolve('at last');
  await promise;
  expect(await openings.run('/dead', open)).toBe('later');
  expect(openings.unresponsive).toEqual([]);
});
