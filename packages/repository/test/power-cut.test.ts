import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { powerCutDisk } from '@lastgood/testkit';
import { afterAll, expect, test } from 'vitest';
import { openFolderRepository } from '../src/index.ts';
import { never, publish, ref as shop, targetOf, understood } from './store.ts';

const cleanup = new AsyncDisposableStack();
const disk = cleanup.use(await powerCutDisk());
afterAll(() => cleanup.disposeAsync());
/** A seed that failed is set to see it fail again. */
const SEED = Number(process.env['POWER_CUT_SEED'] ?? Math.floor(Math.random() * 1e9));
const CUTS = 24;

/** Mulberry32: the same numbers for the same seed. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Told {
  /** The last word about each backup before the power went. */
  readonly before: ReadonlyMap<string, string>;
  /** The last word of all: what was said while the power went may not have come to pass. */
  readonly last: ReadonlyMap<string, string>;
}
const LEAVING = ['removing', 'removed', 'purged'];

/** The output of a process that works on a target until the power is cut, `waitMs` after its `steps`-th line. */
async function workUntilCut(path: string, target: string, steps: number, waitMs: number): Promise<Told> {
  const child = spawn(process.execPath, [new URL('power-cut-child.ts', import.meta.url).pathname, path, target], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const last = new Map<string, string>();
  let said = 0;
  const lines = createInterface(child.stdout);
  const enough = new Promise<void>((resolve) => {
    lines.on('line', (line) => {
      const [step = '', id = ''] = line.split(' ');
      last.set(id, step);
      said += 1;
      if (said === steps) resolve();
    });
  });
  await Promise.race([enough, once(child, 'close')]);
  await delay(waitMs);
  const before = new Map(last);
  await disk.cut();
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  return { before, last };
}

test.skipIf(disk.path === null)(
  `B1: after a power cut, everything acknowledged is there, and nothing partial (${CUTS} cuts, seed ${SEED}${disk.reason === null ? '' : `; ${disk.reason}`})`,
  async () => {
    if (disk.path === null) return;
    const path = join(disk.path, 'repository');
    const random = numbers(SEED);
    for (let round = 0; round < CUTS; round += 1) {
      // The first rounds cut right behind one word each; the others anywhere.
      const steps = round < 12 ? round + 1 : 1 + Math.floor(random() * 20);
      const waitMs = round < 12 ? 0 : random() * 30;
      const target = `t${round}`;
      const ref = { ...shop, target };
      const { before, last } = await workUntilCut(path, target, steps, waitMs);
      await disk.mountAgain();
      const where = `round ${round} of seed ${SEED}`;
      const repository = await openFolderRepository({ understood, path });
      const swept = await repository.sweep(ref, new Set());
      expect(await repository.sweep(ref, new Set()), where).toEqual([]);
      const { backups, broken } = await repository.list(ref);
      expect(broken, where).toEqual([]);
      const listed = new Map(backups.map((backup) => [backup.manifest.backupId, backup]));
      for (const [id, step] of before) {
        const what = `${where}: ${id} was ${step}`;
        if (step !== last.get(id) && LEAVING.includes(last.get(id) ?? '')) continue;
        if (step === 'published' || step === 'verified') expect([...listed.keys()], what).toContain(id);
        if (step === 'verified') expect(listed.get(id)?.verified?.level, what).toBe(4);
        if (step === 'removed' || step === 'purged') expect([...listed.keys()], what).not.toContain(id);
        if (step === 'purged') expect(swept, what).not.toContain(id);
      }
      for (const id of listed.keys()) {
        expect([...last.keys()], where).toContain(id);
        expect(await repository.verify(ref, id, 1, never, () => undefined), where).toEqual([]);
      }
      await repository.purge(ref, 1, 0);
      // A cut in the first moments leaves no folder of the target at all.
      const folder = targetOf(path).replace(/shop$/, target);
      const left = existsSync(folder) ? await readdir(folder, { recursive: true }) : [];
      expect(
        left.filter((name) => name.endsWith('.partial')),
        where,
      ).toEqual([]);
    }
    // The disk works on, and so does the repository.
    expect(await publish(await openFolderRepository({ understood, path }))).toBeTruthy();
  },
  180_000,
);

test.skipIf(disk.path === null)(
  `I1: a read-back reads the disk, not the memory that the bytes were written from${disk.reason === null ? '' : ` (${disk.reason})`}`,
  async () => {
    if (disk.path === null) return;
    const { createFolderRepository } = await import('../src/index.ts');
    const { begin, dump, from } = await import('./store.ts');
    const { randomBytes } = await import('node:crypto');
    const { readFile } = await import('node:fs/promises');
    const repository = await createFolderRepository({ understood, path: join(disk.path, 'read-back') });
    const readFromDisk = async (): Promise<number> =>
      Number(/^read_bytes: (\d+)$/m.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
    const writer = await begin(repository);
    const before = await readFromDisk();
    const { stored } = await writer.add(dump, from(randomBytes(4_000_000)));
    expect((await readFromDisk()) - before).toBeGreaterThanOrEqual(stored.size);
    await writer.abandon();
  },
);
