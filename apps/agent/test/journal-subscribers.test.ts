import { join } from 'node:path';
import { type AgentLedger, emptyAgentLedger } from '@lastgood/protocol';
import { temporaryFolder } from '@lastgood/testkit';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Journal } from '../src/journal/journal.ts';

let cleanup: AsyncDisposableStack;
let file: string;
let journal: Journal;
beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  file = join(cleanup.use(await temporaryFolder()).path, 'journal.sqlite');
  journal = cleanup.use(await Journal.open(file, 0));
});
afterEach(() => cleanup.disposeAsync());

const withSeq =
  (lastSeq: number) =>
  (ledger: AgentLedger): AgentLedger => ({ ...ledger, lastSeq });
/** The sequence number that another connection to the file reads. */
function storedSeq(): number {
  using reader = new (class extends Database {
    [Symbol.dispose](): void {
      this.close();
    }
  })(file, { readonly: true });
  const row = reader.prepare<[], { value: string }>("select value from meta where key = 'lastSeq'").get();
  return Number(row?.value.slice(9) ?? 0);
}

test('a subscriber receives a change only after it is in the file, with the ledgers before and after it', () => {
  const heard: { before: number; after: number; stored: number }[] = [];
  journal.subscribe((before, after) => {
    heard.push({ before: before.lastSeq, after: after.lastSeq, stored: storedSeq() });
  });
  const applied = journal.apply((ledger) => ({ ledger: withSeq(1)(ledger), value: 'taken' }));
  expect(heard).toEqual([{ before: 0, after: 1, stored: 1 }]);
  expect(applied).toMatchObject({ before: { lastSeq: 0 }, after: { lastSeq: 1 }, value: 'taken' });
  expect(journal.ledger).toBe(applied.after);
});

test('a change that a subscriber makes is committed at once, and every subscriber receives both in order', () => {
  const heard: string[] = [];
  journal.subscribe((_before, after) => {
    if (after.lastSeq === 1) expect(journal.update(withSeq(2)).after.lastSeq).toBe(2);
    heard.push(`first ${after.lastSeq}`);
  });
  journal.subscribe((before, after) => void heard.push(`second ${before.lastSeq} to ${after.lastSeq}`));
  journal.update(withSeq(1));
  expect(heard).toEqual(['first 1', 'second 0 to 1', 'first 2', 'second 1 to 2']);
});

test('a reducer that changes nothing writes nothing and notifies nobody', () => {
  let heard = 0;
  journal.subscribe(() => {
    heard += 1;
  });
  journal.update((ledger) => ledger);
  expect([heard, journal.ledger]).toEqual([0, emptyAgentLedger]);
});

test('a subscriber that has unsubscribed receives nothing more', () => {
  let heard = 0;
  const unsubscribe = journal.subscribe(() => {
    heard += 1;
  });
  journal.update(withSeq(1));
  unsubscribe();
  journal.update(withSeq(2));
  expect(heard).toBe(1);
});

test('a change that cannot be written changes nothing and notifies nobody', () => {
  let heard = 0;
  journal.subscribe(() => {
    heard += 1;
  });
  const holder = new Database(file);
  holder.exec('begin immediate');
  try {
    expect(() => journal.update(withSeq(1))).toThrow(expect.objectContaining({ code: 'IO_ERROR' }));
  } finally {
    holder.close();
  }
  expect([heard, journal.ledger.lastSeq]).toEqual([0, 0]);
});
