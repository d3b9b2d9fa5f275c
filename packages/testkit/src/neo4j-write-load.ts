import { Bug } from '@lastgood/core';
import type { Neo4jServer } from './neo4j-server.ts';

const ACCOUNTS = 50;

/** Writers that keep two promises: balances always add up to zero, and each writer's entries are 1, 2, 3 ... without a gap. */
export interface WriteLoad extends AsyncDisposable {
  /** The number of the last entry of each writer that the server acknowledged. */
  acknowledged(): readonly number[];
  /** Waits until every writer has this many more acknowledged entries. Throws when a writer has ended. */
  progress(entries: number): Promise<void>;
  /** Ends the writers, with the entry that each is writing. */
  stop(): Promise<readonly number[]>;
}

/** What a database holds of a write load. */
export interface LoadState {
  readonly sum: number;
  readonly writers: readonly { readonly entries: number; readonly last: number }[];
}

interface Writer {
  acknowledged: number;
  readonly ended: Promise<void>;
}

/** Starts writers against the database `neo4j`. A writer ends when the server rejects an entry or the connection is lost. */
export async function startWriteLoad(server: Pick<Neo4jServer, 'query'>, writers = 2): Promise<WriteLoad> {
  await server.query('CREATE CONSTRAINT account_id IF NOT EXISTS FOR (a:Account) REQUIRE a.id IS UNIQUE');
  await server.query('UNWIND range(0, $last) AS i MERGE (a:Account {id: i}) ON CREATE SET a.balance = 0', {
    last: ACCOUNTS - 1,
  });
  let stopping = false;
  let hasFailed = false;
  let notify: () => void = () => undefined;
  const run = async (writer: Writer, index: number): Promise<void> => {
    for (let entry = 1; !stopping; entry += 1) {
      await server.query(
        `MATCH (a:Account {id: $from}), (b:Account {id: $to})
         SET a.balance = a.balance - $amount, b.balance = b.balance + $amount
         CREATE (a)<-[:OF {writer: $writer}]-(:Entry {writer: $writer, number: $entry, text: $text})`,
        {
          // Each writer has accounts of its own: no deadlocks.
          from: BigInt(index + writers * (entry % 10)),
          to: BigInt(index + writers * ((entry + 3) % 10)),
          amount: BigInt(entry % 97),
          writer: BigInt(index),
          entry: BigInt(entry),
          text: 'x'.repeat(entry % 200),
        },
      );
      writer.acknowledged = entry;
      notify();
    }
  };
  const all = Array.from({ length: writers }, (_, index) => {
    const writer: { acknowledged: number; ended: Promise<void> } = { acknowledged: 0, ended: Promise.resolve() };
    writer.ended = run(writer, index).catch(() => {
      hasFailed = true;
      notify();
    });
    return writer;
  });
  const acknowledged = (): number[] => all.map((writer) => writer.acknowledged);
  const stop = async (): Promise<number[]> => {
    stopping = true;
    await Promise.all(all.map(({ ended }) => ended));
    return acknowledged();
  };
  return {
    acknowledged,
    async progress(entries) {
      const wanted = acknowledged().map((number) => number + entries);
      const isDone = (): boolean => acknowledged().every((number, index) => number >= (wanted[index] ?? 0));
      await new Promise<void>((resolve, reject) => {
        notify = () => {
          if (isDone()) resolve();
          else if (hasFailed) reject(new Bug('a writer has ended'));
        };
        notify();
      });
      notify = () => undefined;
    },
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

/** Reads what a database holds of a write load. A consistent state has `sum` 0 and as many entries as the last number of each writer. */
export async function readLoadState(query: (cypher: string) => Promise<Record<string, unknown>[]>): Promise<LoadState> {
  const [row] = await query('MATCH (a:Account) RETURN sum(a.balance) AS sum');
  const rows = await query(
    'MATCH (e:Entry)-[o:OF]->() WHERE o.writer = e.writer RETURN e.writer AS writer, count(e) AS entries, max(e.number) AS last ORDER BY writer',
  );
  return {
    sum: Number(row?.['sum']),
    writers: rows.map(({ entries, last }) => ({ entries: Number(entries), last: Number(last) })),
  };
}
