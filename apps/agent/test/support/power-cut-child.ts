/** Takes commands into a journal until it is killed, and prints each once it is journaled. `node power-cut-child.ts FILE` */
import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { acceptCommand, type EventFactory } from '@lastgood/protocol';
import { aStartCommand } from '@lastgood/testkit';
import { Journal } from '../../src/journal/journal.ts';

const journal = await Journal.open(process.argv[2] ?? '', Date.now());
const eventFactory: EventFactory = { now: Date.now(), eventId: randomUUID };
for (;;) {
  const jobId = randomUUID();
  const start = aStartCommand(jobId, { seq: journal.ledger.lastSeq + 1 });
  journal.update((ledger) => acceptCommand(ledger, start, eventFactory, () => null).ledger);
  writeSync(1, `${start.seq} ${jobId}\n`);
}
