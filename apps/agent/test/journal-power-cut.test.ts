import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { jobKey } from '@lastgood/protocol';
import { powerCutDisk } from '@lastgood/testkit';
import { afterAll, expect, test } from 'vitest';
import { Journal } from '../src/journal/journal.ts';

const cleanup = new AsyncDisposableStack();
const disk = cleanup.use(await powerCutDisk());
afterAll(() => cleanup.disposeAsync());
const child = new URL('support/power-cut-child.ts', import.meta.url).pathname;

/** The commands that a process said were in its journal before the power went, after so many. */
async function journalUntilCut(file: string, commands: number): Promise<Map<number, string>> {
  const running = spawn(process.execPath, [child, file], { stdio: ['ignore', 'pipe', 'ignore'] });
  // Before anything: it may end by itself as soon as its disk is gone.
  const ended = once(running, 'close');
  const told = new Map<number, string>();
  await new Promise<void>((resolve, reject) => {
    running.once('close', () => reject(new Error('the journal was given up')));
    createInterface(running.stdout).on('line', (line) => {
      const [seq = '', jobId = ''] = line.split(' ');
      told.set(Number(seq), jobId);
      if (told.size === commands) resolve();
    });
  });
  const before = new Map(told);
  await disk.cut();
  running.kill('SIGKILL');
  await ended;
  return before;
}

test.skipIf(disk.path === null)(
  `C1, B1: every command that was journalled is there after a power cut${disk.reason === null ? '' : ` (${disk.reason})`}`,
  async () => {
    if (disk.path === null) return;
    const file = join(disk.path, 'journal.sqlite');
    const all = new Map<number, string>();
    for (const commands of [1, 2, 3, 10, 40, 300]) {
      for (const [seq, jobId] of await journalUntilCut(file, commands)) all.set(seq, jobId);
      await disk.mountAgain();
      using journal = await Journal.open(file, Date.now());
      expect(journal.damaged).toBeUndefined();
      expect(journal.ledger.lastSeq).toBeGreaterThanOrEqual(Math.max(...all.keys()));
      for (const jobId of all.values()) expect(journal.ledger.jobs.has(jobKey(jobId, 1))).toBe(true);
      expect(journal.ledger.outbox.length).toBe(journal.ledger.jobs.size);
    }
  },
);
