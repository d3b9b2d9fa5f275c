import { uuidv7 } from '@lastgood/host';
import { describe, expect, test } from 'vitest';
import { codeOf, type EngineHarness, Killed, type StepPoint, type TriedRestore } from './engine-harness.ts';

/** A backup, and a server that has gone on to other data. */
async function prepare(harness: EngineHarness): Promise<{ backupId: string; good: string; present: string }> {
  const { subject } = harness;
  const { manifest, served: good } = await harness.sharedBackup();
  const { backupId } = manifest;
  await subject.fill('present');
  const present = await subject.served();
  expect(present).not.toBe(good);
  return { backupId, good, present };
}
const hasUndo = (harness: EngineHarness, { request }: TriedRestore): boolean =>
  harness.definition.restoreWays.find(({ name }) => name === request('').into.way)?.undo === true;

async function restoreAndUndo(harness: EngineHarness, tried: TriedRestore): Promise<void> {
  const { subject } = harness;
  const { backupId, good, present } = await prepare(harness);
  const request = tried.request(backupId);
  expect((await harness.plan(request)).refusals).toEqual([]);
  const jobId = uuidv7();
  const result = await harness.restore(request, jobId, await harness.context());
  expect(await (tried.restored ?? subject.served)()).toBe(good);
  if (tried.restored !== undefined) expect(await subject.served()).toBe(present);
  const undoes = hasUndo(harness, tried);
  expect(result.setAsideAs !== null).toBe(undoes);
  const undo = async () => await harness.engine().undo(jobId, await harness.context());
  if (undoes) {
    await undo();
    expect(await subject.served()).toBe(present);
  }
  expect(await codeOf(undo())).toBe('UNDO_IMPOSSIBLE');
  if (undoes && harness.engine().dropSetAside !== undefined) await dropAll(harness);
}

/** What was set aside is listed, and gone when it was dropped. */
async function dropAll(harness: EngineHarness): Promise<void> {
  const listed = async (): Promise<string[]> =>
    ((await harness.engine().probe(await harness.context())).setAside ?? []).map(({ name }) => name);
  const names = await listed();
  expect(names).not.toEqual([]);
  const drop = async (name: string) => await harness.engine().dropSetAside?.(name, await harness.context());
  for (const name of names) expect((await drop(name))?.freedBytes).toBeGreaterThan(0);
  expect(await listed()).toEqual([]);
  expect(await codeOf(drop(names[0] ?? ''))).toBe('NOT_FOUND');
}

/** Kills the restore at each moment of each of its steps, until it runs through. */
async function killAtEachStep(harness: EngineHarness, tried: TriedRestore): Promise<void> {
  const { subject } = harness;
  const { backupId, good, present } = await prepare(harness);
  const request = tried.request(backupId);
  for (let step = 0, steps = 1; step < steps; step += 1)
    for (const point of [`begun:${step}`, `effect:${step}`] satisfies StepPoint[]) {
      const journal = harness.journal(point);
      const work = harness.restore(request, uuidv7(), await harness.context({ steps: journal }));
      const error: unknown = await work.then(
        () => null,
        (reason: unknown) => reason,
      );
      // A restore without steps has nothing to take back.
      if (error === null) break;
      expect(error, point).toBeInstanceOf(Killed);
      steps = Math.max(steps, journal.steps + 1);
      await journal.recover();
      expect([good, present], point).toContain(await subject.served());
      await harness.engine().sweep(await harness.context(), () => new Set());
      expect(await subject.leftovers(), point).toEqual([]);
    }
}

export function testEngineRestores(harness: () => EngineHarness): void {
  describe('each way to restore', () => {
    test('brings back the data of the backup, and undo what was there', async () => {
      for (const tried of harness().subject.restores) await restoreAndUndo(harness(), tried);
    });

    test('serves old or new data after a kill at any step, and leaves nothing behind', async () => {
      for (const tried of harness().subject.restores) await killAtEachStep(harness(), tried);
    });
  });
}
