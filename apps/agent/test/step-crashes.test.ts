import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '@lastgood/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Journal } from '../src/journal/journal.ts';

const child = fileURLToPath(new URL('support/steps-child.ts', import.meta.url));
const STEPS = ['freeze', 'flag'].flatMap((kind) => [`step-begun:${kind}`, `step-effect:${kind}`, `step-done:${kind}`]);
const COMPENSATIONS = ['remove-flag', 'thaw'].flatMap((kind) => [
  `compensation-begun:${kind}`,
  `compensation-effect:${kind}`,
  `compensation-done:${kind}`,
]);

let cleanup: AsyncDisposableStack;
let folder: string;
/** The process that the job freezes. */
let sleeper: ChildProcess;
beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  folder = cleanup.use(await temporaryFolder()).path;
  sleeper = spawn('sleep', ['600'], { stdio: 'ignore' });
  cleanup.defer(() => void sleeper.kill('SIGKILL'));
});
afterEach(() => cleanup.disposeAsync());

/** Runs the program, killed at a point or to its end; what it has seen. */
async function run(fault = ''): Promise<{ killed: boolean; seen: string[] }> {
  const program = spawn(process.execPath, [child, folder, String(sleeper.pid)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LASTGOOD_FAULT: fault },
  });
  const output = text(program.stdout);
  const [status, signal] = (await once(program, 'close')) as [number | null, string | null];
  if (signal === null && status !== 0) throw new TypeError(`the program ended with ${status}`);
  return { killed: signal === 'SIGKILL', seen: (await output).trim().split('\n') };
}
const isFrozen = (): boolean => readFileSync(`/proc/${sleeper.pid}/stat`, 'utf8').split(' ')[2] === 'T';

/** Everything was taken back before the interruption was reported, and before the next job of the target started. */
async function expectRecovered(): Promise<void> {
  const { killed, seen } = await run();
  expect([killed, seen]).toEqual([
    false,
    [
      'interrupted frozen=false flag=false',
      'second job frozen=false flag=false',
      'failed frozen=false flag=false',
      'end frozen=false flag=false',
    ],
  ]);
  expect(isFrozen()).toBe(false);
  using journal = await Journal.open(join(folder, 'journal.sqlite'), 1);
  expect([...journal.ledger.jobs.values()].map(({ lastType }) => lastType)).toEqual(['interrupted', 'failed']);
}

test('I10: a job that fails has taken back its steps before its end is reported', async () => {
  const { seen } = await run();
  expect(seen).toEqual([
    'failed frozen=false flag=false',
    'second job frozen=false flag=false',
    'failed frozen=false flag=false',
    'end frozen=false flag=false',
  ]);
});

test.for([...STEPS, ...COMPENSATIONS])(
  'I10: killed at %s, the next start takes everything back first',
  async (point) => {
    expect((await run(point)).killed).toBe(true);
    await expectRecovered();
  },
);

test.for(COMPENSATIONS)('I10: killed once more at %s while it recovers, the start after that does', async (point) => {
  expect((await run('step-done:flag')).killed).toBe(true);
  expect(isFrozen()).toBe(true);
  expect((await run(point)).killed).toBe(true);
  await expectRecovered();
});
