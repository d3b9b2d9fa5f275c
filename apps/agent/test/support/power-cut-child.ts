/** Takes commands into a journal until it is killed, and prints each once it is journaled. `node power-cut-child.ts FILE` */
import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { acceptCommand, type EventFactory } from '@lastgood/protocol';
import { Journal } from '../../src/journal/journal.ts';

const journal = await Journal.open(process.argv[2] ?? '', Date.now());
const eventFactory: EventFactory = { now: Date.now(), eventId: randomUUID };
const spec = { command: 'verify', target: 'shop', backupId: randomUUID(), level: 1 } as const;
for (;;) {
  const jobId = randomUUID();
  const start = { seq: journal.ledger.lastSeq + 1, type: 'job.start', jobId, attempt: 1, spec } as const;
  const times = { startBy: eventFactory.now + 600_000, deadlineMs: 600_000 };
  journal.update((ledger) => acceptCommand(ledger, { ...start, ...times }, eventFactory, () => null).ledger);
  writeSync(1, `${start.seq} ${jobId}\n`);
}
