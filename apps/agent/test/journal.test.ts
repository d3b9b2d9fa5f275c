import { copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type AgentLedger, acceptCommand, finishJob, jobKey, markRunning, reportBatch } from '@lastgood/protocol';
import { aStartCommand, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { Journal } from '../src/journal/journal.ts';

const JOB = '01a20b1a-d025-7344-a564-47d7db15294a';
let minted = 0;
const eventFactory = () => ({
  now: 1_000,
  eventId: () => {
    minted += 1;
    return `event-${minted}`;
  },
});
const key = jobKey(JOB, 1);

/** The ledgers of one job's life, in order. */
function life(first: AgentLedger): AgentLedger[] {
  const command = aStartCommand(JOB, { startBy: 10_000, deadlineMs: 60_000 });
  const accepted = acceptCommand(first, command, eventFactory(), () => null).ledger;
  const running = markRunning(accepted, key, eventFactory());
  return [accepted, running, finishJob(running, key, { type: 'succeeded', error: null, result: null }, eventFactory())];
}

/** A journal on the disk with one job that has ended, without its write-ahead log. */
async function writtenJournal(folder: string): Promise<{ file: string; ledger: AgentLedger }> {
  const file = join(folder, 'journal.sqlite');
  using journal = await Journal.open(file, 0);
  for (const ledger of life(journal.ledger)) journal.update(() => ledger);
  return { file, ledger: journal.ledger };
}

test('what was saved is there after the next start', async () => {
  await using folder = await temporaryFolder();
  const { file, ledger } = await writtenJournal(folder.path);
  using again = await Journal.open(file, 1);
  expect(again.damaged).toBeUndefined();
  expect(again.ledger).toEqual(ledger);
  expect(reportBatch(again.ledger).events).toHaveLength(3);
});

test('R1, R7: a change of the journal is on the disk before any subscriber receives it', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'journal.sqlite');
  for (const _start of ['new', 'again']) {
    using journal = await Journal.open(file, 0);
    // 2 is FULL: each commit waits for the disk.
    expect(journal.durability).toEqual({ journalMode: 'wal', synchronous: 2 });
  }
});

test('J5: cut at any place, a journal is put aside whole or opens with what it held, and never in between', async () => {
  await using folder = await temporaryFolder();
  const { file, ledger } = await writtenJournal(folder.path);
  const whole = await readFile(file);
  for (let length = 0; length < whole.length; length += 509) {
    const torn = join(folder.path, `cut-${length}.sqlite`);
    await writeFile(torn, whole.subarray(0, length));
    using journal = await Journal.open(torn, 1);
    if (journal.damaged === undefined && length > 0) expect(journal.ledger).toEqual(ledger);
    else expect(journal.ledger.jobs.size).toBe(0);
  }
});

test('J5: of 300 changed bytes none makes the journal tell another story', async () => {
  await using folder = await temporaryFolder();
  const { file, ledger } = await writtenJournal(folder.path);
  const whole = await readFile(file);
  let noticed = 0;
  for (let round = 0; round < 300; round += 1) {
    const offset = Math.floor((round * whole.length) / 300);
    const changed = Buffer.from(whole);
    changed.writeUInt8(changed.readUInt8(offset) ^ (1 << (round % 8)), offset);
    const garbled = join(folder.path, `flip-${round}.sqlite`);
    await writeFile(garbled, changed);
    using journal = await Journal.open(garbled, 1);
    if (journal.damaged !== undefined) noticed += 1;
    else expect({ offset, ledger: journal.ledger }).toEqual({ offset, ledger });
  }
  expect(noticed).toBeGreaterThan(0);
});

test('J5: a changed digit inside a record is noticed, and the damaged file is kept for a person to look at', async () => {
  await using folder = await temporaryFolder();
  const { file } = await writtenJournal(folder.path);
  const copy = join(folder.path, 'digit.sqlite');
  await copyFile(file, copy);
  const text = await readFile(copy, 'latin1');
  const at = text.indexOf('"deadlineMs":60000') + '"deadlineMs":'.length;
  await writeFile(copy, `${text.slice(0, at)}9${text.slice(at + 1)}`, 'latin1');
  using journal = await Journal.open(copy, 7);
  expect(journal.damaged).toBe(`${copy}.damaged-7`);
  expect(journal.ledger.jobs.size).toBe(0);
  expect(await readdir(folder.path)).toContain('digit.sqlite.damaged-7');
});
